"""Export to every layout, import again, inside a larger model; the documented list of layouts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import FOREIGN, assert_close, load_golden, random_weights

import convgru
from convgru import importers
from convgru.cli.convert import TARGETS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "coming-from.md"
ORIGINALS = sorted(path.stem for path in FOREIGN.glob("*.npz"))


def networks_of(name):
    """Every network in a golden: its match, the arrays it was found in, and its weights."""
    _, state_dict, _ = load_golden(f"foreign/{name}")
    for match in importers.survey(state_dict).matches:
        yield match, state_dict, importers.weights_of(match, state_dict)


@pytest.mark.parametrize("name", ORIGINALS)
def test_what_was_adopted_goes_back_to_its_place(name):
    """Export restores the names of the imported checkpoint, and no others.

    Byte for byte, or rounded once where biases that were summed are taken apart.
    """
    found = list(networks_of(name))
    if not found:
        with pytest.raises(convgru.WeightsError):
            convgru.adopt(load_golden(f"foreign/{name}")[1])
    for match, state_dict, weights in found:
        if not match.layout.can_export:
            with pytest.raises(convgru.WeightsError, match="export cannot unfold them"):
                importers.export(weights, match.layout.name)
            continue
        if match.first or match.words:  # written as the first layer of a stack, and under the name of Keras' own layer
            continue
        written = importers.export(weights, match.layout.name, prefix=match.prefix.rstrip("./"))
        assert set(written) >= set(match.claims)
        again = importers.weights_of(match, {**state_dict, **written})
        assert_close(again.arrays, weights.arrays, eps=1, what=match.prefix)


@pytest.mark.parametrize(
    ("layout", "prefix", "name"),
    [
        ("raft", "update_block.gru", "update_block.gru.convz.weight"),
        ("raft", "update_block.gru.", "update_block.gru.convz.weight"),
        ("raft", None, "convz.weight"),
        ("convgru", "net.rnn", "net.rnn.layers.0.fwd.weight_ih"),
        ("mindspore_convgru", "net_", "net_cell_0.reset_gate.weight"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_file_of_one_module_of_a_larger_model(tmp_path, layout, prefix, name, suffix):
    weights = random_weights(convgru.network("gru", 3, 4), dtype="float32")
    path = tmp_path / f"w{suffix}"
    convgru.write(weights, path, layout=layout, prefix=prefix)
    arrays = convgru.files.contents(path).arrays
    assert name in arrays
    assert all(key.startswith(prefix or "") for key in arrays)
    assert convgru.read(path, layout, spec=weights.spec).equal(weights)


def test_a_prefix_needs_a_layout(tmp_path):
    with pytest.raises(ValueError, match=r"prefix goes with a layout \(layout='convgru' for convgru's own names\)"):
        convgru.write(random_weights(convgru.network("gru", 3, 4)), tmp_path / "w.safetensors", prefix="rnn")
    assert not list(tmp_path.iterdir())


FITTING = {
    "linen": {},
    "keras": {},
    "haiku": {},
    "sonnet": {},
    "tf_contrib": {},
    "mxnet": {"padding": "valid"},
    "torch.nn": {"kernel_size": 1, "ndim": 1},
    "openstl": {"bias": False},
    "jhhuang96": {"hidden_channels": 8, "norm": 1},
    "raft_sep": {"updates": ((1, 5), (5, 1))},
    "torchvision_raft": {"updates": ((1, 5), (5, 1))},
}
CELLS = {"gru": {"reset": "before"}, "lstm": {}, "rnn": {}}


@pytest.mark.parametrize("family", importers.EXPORTS)
def test_every_system_in_the_list_takes_some_network(tmp_path, family):
    """What is written, in an .npz for all of them, comes back equal when the layout is named."""
    layouts = [each for each in importers.LAYOUTS.values() if each.family == family and each.can_export]
    options = {"hidden_channels": 4, **CELLS[layouts[0].cell], **layouts[0].options, **FITTING.get(family, {})}
    weights = random_weights(convgru.network(layouts[0].cell, 3, **options), dtype="float32")
    convgru.write(weights, tmp_path / "w.npz", layout=family)
    assert_close(convgru.read(tmp_path / "w.npz", family, spec=weights.spec).arrays, weights.arrays, eps=1)
    assert TARGETS[family].layout == family
    assert TARGETS[layouts[0].name].layout


def test_the_documented_list_is_the_table():
    """docs/coming-from.md lists exactly the systems that can be written, with their suffixes."""
    rows = re.findall(r"^\| `([\w.]+)` \| `(\.[\w.]+)` \|", DOCS.read_text(), re.MULTILINE)
    assert dict(rows) == dict(importers.EXPORTS)
    assert [name for name, _ in rows] == sorted(importers.EXPORTS)


@pytest.mark.parametrize(
    ("layout", "spec", "message"),
    [
        ("keras", convgru.network("gru", 3, 4), "^Keras ConvLSTM1D, 2D and 3D has no ConvGRU$"),
        ("torch.nn", convgru.network("gru", 3, 4), r"^torch\.nn\.GRU has no such network"),
        ("linen", convgru.forecaster("lstm", 1, 4), "^Flax linen ConvLSTMCell has no Forecaster$"),
        ("dgmr", convgru.network("gru", 3, 4), "export cannot unfold them$"),
        ("colour", convgru.network("gru", 3, 4), "layout expected one of"),
    ],
)
def test_what_another_system_does_not_have_is_said_once(layout, spec, message):
    with pytest.raises(convgru.WeightsError, match=message):
        importers.export(random_weights(spec), layout)


def test_a_file_of_keras_says_what_a_prefix_must_be(tmp_path):
    """A model's own names of its layers are not those of its file: load_weights would refuse it."""
    pytest.importorskip("h5py")
    weights = convgru.init(convgru.network("lstm", 2, 3, padding="valid"))
    with pytest.raises(convgru.WeightsError, match=r"expected a prefix layers/NAME .*, got 'dec/'"):
        convgru.write(weights, tmp_path / "o.weights.h5", "keras", prefix="dec")
    assert not list(tmp_path.iterdir())
