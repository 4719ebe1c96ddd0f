"""Anybody's .npz and safetensors files, and convgru's own arrays whose spec was lost on the way."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convgru
from convgru import importers
from convgru.importers import specless
from convgru.weights import DTYPES

SUFFIXES = (".safetensors", ".npz")
LSTM = {"cell_list.0.conv.weight": np.ones((8, 3, 3, 3), np.float32), "cell_list.0.conv.bias": np.ones(8, np.float32)}
"""A network of ConvLSTM_pytorch's."""


@pytest.mark.parametrize("dtype", DTYPES)
def test_anybodys_npz_and_safetensors(tmp_path, dtype):
    from safetensors.numpy import save_file

    arrays = {f"module.net.{name}": array.astype(DTYPES[dtype]) for name, array in LSTM.items()}
    arrays |= {"net.step": np.array(3), "head.weight": np.ones((2, 2), np.uint16)}
    save_file(arrays, tmp_path / "w.safetensors", {"format": "pt", "anything": "{["})
    others = {"epoch": 3, "about": "text", "config": np.array([{}], dtype=object), "pairs": np.zeros(2, "f4,i4")}
    np.savez_compressed(tmp_path / "w.npz", **arrays, **others)
    for suffix in SUFFIXES:
        found = convgru.read(tmp_path / f"w{suffix}")
        assert found.spec == convgru.adopt(LSTM).spec
        assert str(found.dtype) == dtype
        assert convgru.read(tmp_path / f"w{suffix}", prefix="module.net").equal(found)


LOST = {
    "gru": (convgru.network("gru", 2, [3, 2], [3, (1, 2)], reset="after"), {}),
    "lstm, both ways": (
        convgru.network("lstm", 2, [4, 2], bidirectional=True, peephole="conv", groups=2),
        {"groups": 2},
    ),
    "stacks": (convgru.network("gru", 2, [3, 3], ndim=1, bidirectional="stack", bias=False), {}),
    "sum": (
        convgru.network("lstm", 2, [3, 3], bidirectional="layer", merge="sum"),
        {"bidirectional": "layer", "merge": "sum"},
    ),
    "rnn": (convgru.network("rnn", 2, 3, ndim=3, activation="relu"), {"activation": "relu"}),
    "peepholes": (convgru.network("lstm", 1, 2, peephole="hadamard", state_size=(5, 4)), {}),
    "kernels": (convgru.network("gru", 1, 2, 5, recurrent_kernel_size=3, stride=2), {"stride": 2}),
    "norm": (convgru.network("gru", 1, 2, norm=1), {"norm": 1}),
    "updates": (convgru.network("gru", 1, 2, updates=((1, 3), (3, 1))), {}),
    "forecaster": (convgru.forecaster("gru", 2, [3, 4], patch=2, residual=False), {"patch": 2, "residual": False}),
    "decoder": (convgru.forecaster("lstm", 1, 2, [3], decoder=True, feedback=False), {"feedback": False}),
    "decoder of its own": (
        convgru.forecaster("lstm", 1, 2, decoder=convgru.network("lstm", 1, 2, 5), ndim=2),
        {},
    ),
}
ALWAYS = {
    *("stride", "recurrent_stride", "dilation", "recurrent_dilation", "padding", "padding_mode", "activation"),
    *("recurrent_dropout", "zoneout", "groups"),
}
"""Arguments of every network that no array tells."""


@pytest.mark.parametrize("name", LOST)
def test_our_arrays_whose_spec_was_lost(tmp_path, name):
    spec, hints = LOST[name]
    weights, path = convgru.init(spec), tmp_path / "w.npz"
    np.savez(path, **{f"model.module.{key}": array for key, array in weights.arrays.items()}, step=3)
    with pytest.raises(convgru.WeightsError, match="layout='convgru' derives it from the shapes"):
        convgru.read(path, **hints)
    with pytest.warns(UserWarning, match="neither the file nor a hint gives") as warned:
        assert convgru.read(path, "convgru", **hints).equal(weights)
    assert warned[0].filename == __file__
    found = convgru.inspect(path, "convgru", **hints)
    assert found.weights.equal(weights)
    assumed = found.networks[0].assumed
    assert set(assumed) >= ALWAYS - set(hints)
    assert not set(assumed) & set(hints)
    assert all(f"{key}={value!r}" in str(warned[0].message) for key, value in assumed.items())
    np.savez(path, **{f"{k}.{n}": a for k in "ab" for n, a in weights.arrays.items()})
    with pytest.warns(UserWarning, match="assumed"):
        assert convgru.read(path, "convgru", prefix="b", **hints).equal(weights)
    with pytest.raises(
        convgru.WeightsError, match=r"several networks, expected one: choose by prefix= of 'a\.', 'b\.'"
    ):
        convgru.read(path, "convgru", **hints)


@pytest.mark.parametrize(
    ("spec", "more"),
    [
        (convgru.network("gru", 2, 3, bias=False), {"recurrent_activation", "reset", "output_size"}),
        (convgru.network("gru", 2, 3), {"recurrent_activation", "output_size"}),
        (convgru.network("rnn", 2, [3, 3]), {"dropout", "output_size"}),
        (convgru.network("lstm", 2, 3, bidirectional=True), {"merge", "recurrent_activation", "output_size"}),
        (
            convgru.network("lstm", 2, [3, 3], bidirectional="stack"),
            {"merge", "bidirectional", "dropout", "recurrent_activation", "output_size"},
        ),
        (convgru.network("lstm", 2, [3, 3], bidirectional=True), {"dropout", "recurrent_activation", "output_size"}),
        (convgru.forecaster("gru", 2, 3), {"patch", "residual", "feedback", "recurrent_activation"}),
    ],
)
def test_every_assumed_argument_is_named_and_a_hint_of_that_name_is_all_it_takes(spec, more, recwarn):
    arrays = convgru.init(spec).arrays
    assumed = convgru.importers.own.find({n: a.shape for n, a in arrays.items()}, "convgru", None, {})[0].assumed
    assert set(assumed) == ALWAYS | more
    assert convgru.adopt(arrays, "convgru", **assumed).spec == spec
    assert not recwarn.list  # nothing is left to assume


def test_a_stride_that_nothing_tells_is_assumed_aloud(tmp_path):
    """The network comes out with stride 1, with a warning."""
    spec = convgru.network("lstm", 2, 3, stride=2, dilation=(1, 2), padding="valid")
    with pytest.warns(UserWarning, match=r"gives groups=1, stride=1, .*dilation=1, .*padding='same'"):
        assert convgru.adopt(convgru.init(spec).arrays, "convgru").spec.layers[0].stride == (1, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", LOST)
def test_a_spec_that_the_caller_knows(tmp_path, name, suffix, recwarn):
    from safetensors.numpy import save_file

    weights, path = convgru.init(LOST[name][0]), tmp_path / f"w{suffix}"
    arrays = {f"net.rnn.{key}": array for key, array in weights.arrays.items()} | {"net.head.weight": np.ones(2)}
    save_file(arrays, path) if suffix == ".safetensors" else np.savez(path, **arrays)
    assert convgru.read(path, spec=weights.spec).equal(weights)
    assert convgru.read(path, "convgru", spec=weights.spec, prefix="net").equal(weights)
    assert convgru.adopt(arrays, spec=weights.spec).equal(weights)
    assert convgru.inspect(path, spec=weights.spec).weights.equal(weights)
    assert not recwarn.list


GRU = convgru.network("gru", 2, [3, 3])


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"layers.1.fwd.weight_hh": None}, {"spec": GRU}, r"missing layers\.1\.fwd\.weight_hh$"),
        ({"layers.2.fwd.bias": np.ones(9, "float32")}, {"spec": GRU}, r"unexpected layers\.2\.fwd\.bias$"),
        (
            {},
            {"spec": convgru.network("gru", 2, [3, 3], 5)},
            r"weight_ih expected shape \(9, 2, 5, 5\), got \(9, 2, 3, 3\)",
        ),
        ({}, {"spec": GRU, "stride": 1}, "spec= leaves nothing open that hints could say, got stride"),
        (
            {},
            {"spec": GRU, "prefix": "net"},
            r"expected arrays called layers\.0\.fwd\.weight_ih, .* below 'net', got none",
        ),
        ({"layers.1.fwd.weight_hh": None}, {"layout": "convgru"}, r"the array 'layers\.1\.fwd\.weight_hh' is missing"),
        ({"layers.0.fwd.weight_hh": None}, {"layout": "convgru"}, r"the array 'layers\.0\.fwd\.weight_hh' is missing"),
        ({"layers.1.fwd.bias": None}, {"layout": "convgru"}, r"missing layers\.1\.fwd\.bias$"),
        (
            {},
            {"layout": "convgru", "prefix": "net"},
            r"expected arrays called 'layers\.0\.fwd\.weight_ih' … below 'net'",
        ),
        ({}, {"layout": "pytorch_convgru", "spec": GRU}, "the layout 'pytorch_convgru' expected ConvGRUCell_00"),
        (
            {f"a.{name}": array for name, array in convgru.init(GRU).arrays.items()},
            {"spec": GRU},
            r"several networks have the names of this spec, choose one by prefix= of '', 'a\.'",
        ),
    ],
)
def test_arrays_that_are_not_those_of_the_spec(changed, options, message):
    arrays = {**convgru.init(GRU).arrays, **changed}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.adopt(arrays, **options)


def test_a_file_that_holds_its_spec_keeps_it(tmp_path):
    weights = convgru.init(convgru.network("gru", 2, 3, stride=2))
    convgru.write(weights, tmp_path / "w.safetensors")
    assert convgru.read(tmp_path / "w.safetensors", "convgru").equal(weights)
    assert convgru.read(tmp_path / "w.safetensors", spec=weights.spec).equal(weights)
    with pytest.raises(convgru.WeightsError, match="spec expected the file's own"):
        convgru.read(tmp_path / "w.safetensors", spec=convgru.network("gru", 2, 3))
    with pytest.raises(TypeError, match="spec expected a NetworkSpec or a ForecasterSpec, got str"):
        convgru.adopt(weights.arrays, spec="gru")


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({"groups": 7}, "gates"),
        ({"cell": "gru"}, "ConvGRU"),
        ({"colour": 1}, "colour"),
        ({"norm": "x"}, "norm"),
        ({"groups": 0}, "groups"),
    ],
)
def test_wrong_hints_for_our_arrays_whose_spec_was_lost(tmp_path, hints, message):
    np.savez(tmp_path / "w.npz", **convgru.init(convgru.network("lstm", 2, 3)).arrays)
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.read(tmp_path / "w.npz", "convgru", **hints)


def test_inspect_reads_what_read_reads(tmp_path):
    """The same prefixes, the spec lost or not, and counters beside the weights."""
    one, two = convgru.init(convgru.network("gru", 2, 3)), convgru.init(convgru.network("gru", 2, 4))
    np.savez(tmp_path / "one.npz", **one.arrays)
    assert convgru.inspect(tmp_path / "one.npz", "convgru").weights.equal(one)
    arrays = {
        f"{start}.{name}": array for start, net in (("a", one), ("ab", two)) for name, array in net.arrays.items()
    }
    np.savez(tmp_path / "two.npz", **arrays)
    assert [each.prefix for each in convgru.inspect(tmp_path / "two.npz", "convgru").networks] == ["a.", "ab."]
    for prefix in ("a", "a.", "module.a"):
        (found,) = convgru.inspect(tmp_path / "two.npz", "convgru", prefix=prefix).networks
        assert found.prefix == "a."
    np.savez(tmp_path / "counted.npz", **LSTM, **{"cell_list.0.num_batches_tracked": np.array(3)})
    assert convgru.inspect(tmp_path / "counted.npz").weights.equal(convgru.read(tmp_path / "counted.npz"))
    with pytest.raises(convgru.WeightsError, match=r"counted\.npz: layout expected one of"):
        convgru.inspect(tmp_path / "counted.npz", "colour")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_shapes_and_hints_are_a_network_or_a_weights_error(data):
    """Arrays under our names, of any shape and with any config, raise nothing but WeightsError."""
    spec = data.draw(st.sampled_from([each for each, _ in LOST.values()]))
    arrays = dict(convgru.init(spec).arrays)
    for name in data.draw(st.lists(st.sampled_from(list(arrays)), max_size=2, unique=True)):
        shape = data.draw(st.one_of(st.none(), st.lists(st.integers(0, 4), max_size=5)))
        if shape is None:
            del arrays[name]
        else:
            arrays[name] = np.zeros(shape, "float32")
    values = st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.integers(-1, 3), st.floats(), st.sampled_from(["same", "gru", "concat", ""])
        ),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.just("a"), inner, max_size=1)),
        max_leaves=4,
    )
    names = st.sampled_from([*specless._PER_LAYER, *specless._PLAIN])
    config = data.draw(st.dictionaries(names, values, max_size=3))
    try:
        weights, _ = importers.adopt_with_assumptions(arrays, "convgru", config=config, hints={})
    except convgru.WeightsError:
        return
    assert {name: array.shape for name, array in weights.arrays.items()} == convgru.parameter_shapes(weights.spec)


def test_what_changes_the_numbers_of_another_systems_network_is_assumed_aloud():
    """Arrays tell neither tf.contrib's forget_bias nor the dimensions of torch.nn's pixels."""
    for layout, cell, name, value in (("tf_contrib", "lstm", "forget_bias", 1.0), ("torch.nn", "gru", "ndim", 2)):
        spec = convgru.network(cell, 2, 3, 1, reset="after" if cell == "gru" else None)
        arrays = convgru.importers.export(convgru.init(spec), layout)
        with pytest.warns(UserWarning, match=f"gives {name}={value}"):
            convgru.adopt(arrays, layout)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            convgru.adopt(arrays, layout, **{name: value})
