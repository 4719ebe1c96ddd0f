"""Results of older systems, from their checkpoints, by the reference and every backend."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support import FOREIGN, assert_close, load_golden

import convgru

KERAS_FIRST = {"keras_convlstm2d_sequential": "sequential/conv_lstm2d/", "keras_convlstm2d_stack": "zz_encoder/"}
"""Files with several networks: the one that is fed with x."""
REFUSED = {
    "droid_convgru": "add a context that is computed from the whole hidden state",
    "openstl_convlstm_layernorm": "W*x and U*h are normalised each by itself",
    "direct_convgru_instnorm": "the gates normalise x and h before the convolution",
}
SEVERAL = {
    "direct_convgru",
    "e2vid_model",
    "ensemble_convgru_model",
    "keras_convlstm2d_sequential",
    "keras_convlstm2d_stack",
}
ONE = (
    *(f"keras_convlstm{n}d_{how}{s}" for n in (1, 2, 3) for how in ("same", "valid") for s in ("", "_s2")),
    *(f"keras_convlstm2d_{how}" for how in ("bidirectional", "channelsfirst", "dilated", "hardsigmoid", "nobias")),
    *(f"flax_convlstm{how}" for how in ("1d", "2d", "3d", "2d_bidirectional", "2d_lengths", "2d_nobias")),
    *(f"haiku_convlstm{n}d" for n in (1, 2, 3)),
    *(f"torch_{cell}{how}" for cell in ("gru", "lstm", "rnn") for how in ("", "_packed")),
    *(
        "dgmr_convgru",
        "dgmr_convgru_legacy",
        "e2vid_convlstm",
        "ensemble_convgru",
        "firenet_convgru",
        "hzzone_convlstm",
    ),
    *("hzzone_convlstm_nopeep", "jhhuang96_convgru", "jhhuang96_convlstm", "openstl_convlstm", "raft_convgru"),
    *("raft_sepconvgru", "raft_stereo_convgru", "rvm_convgru", "ultrafast_convlstm"),
)


def adopted(name, prefix=None, **hints):
    """The weights of a golden in float64, read with its constructor's arguments as hints."""
    meta, state_dict, arrays = load_golden(f"foreign/{name}")
    given = {key: value for key, value in meta["args"].items() if key != "stack"} | hints
    if isinstance(given.get("bidirectional"), dict):  # Keras: a wrapper with arguments of its own
        given |= given.pop("bidirectional")
    return convgru.adopt(state_dict, prefix=prefix, **given).astype("float64"), meta, arrays


def begin(spec, arrays):
    """The state that the original was given."""
    if "h0" not in arrays:
        return None
    h = arrays["h0"]
    return ((h, arrays["c0"]),) if spec.cell == "lstm" else (h,)


def parts(entry):
    return entry if isinstance(entry, tuple) else (entry,)


@pytest.mark.parametrize("name", [name for name in ONE if not name.startswith("torch_")])
def test_one_network(execute, name):
    weights, meta, arrays = adopted(name)
    context = None
    if "cz" in arrays:  # RAFT-Stereo's, in our order of the gates; its z takes the new value, so that the sign turns
        context = [np.concatenate([arrays["cr"], -arrays["cz"], arrays["cq"]], 1)]
    lengths = meta.get("lengths")
    y, final = execute(
        weights, arrays["x"].astype(float), begin(weights.spec, arrays), lengths=lengths, context=context
    )
    want = arrays["h"].copy()
    if lengths is not None:  # Flax leaves what it computes from padding in the output
        for sample, length in enumerate(lengths):
            want[length:, sample] = 0
    assert_close(y, want, what=name)
    for suffix, entry in zip(("_forward", "_backward") if len(final) == 2 else ("",), final[-2:], strict=False):
        for key, part in zip(("h_n", "c"), parts(final[-1] if not suffix else entry), strict=False):
            if f"{key}{suffix}" in arrays:
                wanted = arrays[f"{key}{suffix}"]
                assert_close(part, wanted[-1] if wanted.ndim == y.ndim else wanted, what=name)
    for layer, entry in enumerate(final):
        if f"h_l{layer}" in arrays:
            assert_close(parts(entry)[0], arrays[f"h_l{layer}"][-1], what=name)


@pytest.mark.parametrize("name", [name for name in ONE if name.startswith("torch_")])
def test_networks_without_an_image_are_kernels_of_one_pixel(execute, name):
    weights, meta, arrays = adopted(name)
    kernels = {layer.kernel_size for layer in weights.spec.layers}
    assert kernels == {(1, 1)}
    image = (..., None, None)
    state = None
    if meta["args"].get("bidirectional") is None or "h0" in arrays:
        leaves = [arrays[key][image] for key in ("h0", "c0") if key in arrays]
        state = tuple(zip(*leaves, strict=True)) if len(leaves) == 2 else tuple(leaves[0])
    y, final = execute(weights, arrays["x"][image], state, lengths=meta["lengths"])
    assert_close(y[..., 0, 0], arrays["h"], what=name)
    for index, key in enumerate(("h_n", "c_n")):
        if key in arrays:
            assert_close(np.stack([parts(entry)[index] for entry in final])[..., 0, 0], arrays[key], what=name)


@pytest.mark.parametrize(("name", "prefix"), KERAS_FIRST.items())
def test_a_layer_of_a_keras_model(execute, name, prefix):
    weights, _, arrays = adopted(name, prefix=prefix)
    y, _ = execute(weights, arrays["x"].astype(float))
    assert_close(y, arrays["h_l0"], what=name)


@pytest.mark.parametrize("name", ["keras_convlstm2d_sequential", "keras_convlstm2d_stack"])
def test_the_second_layer_of_a_keras_model(execute, name):
    prefix = {"keras_convlstm2d_sequential": "sequential/last_one", "keras_convlstm2d_stack": "aa_decoder"}[name]
    hints = {"filters": 4}
    weights, _, arrays = adopted(name, prefix=prefix, **hints)
    x = arrays["x_l1"] if "x_l1" in arrays else arrays["h_l0"]
    y, _ = execute(weights, x.astype(float))
    assert_close(y[-1], arrays["h_n_l1"], what=name)


@pytest.mark.parametrize("name", ["e2vid_model", "ensemble_convgru_model"])
def test_the_cells_inside_a_model(execute, name):
    meta, state_dict, arrays = load_golden(f"foreign/{name}")
    start = "cell/"
    paths = sorted({key[len(start) :].rpartition("/")[0] for key in arrays if key.startswith(start)})
    assert len(paths) >= 2
    for path in paths:
        weights = convgru.adopt(state_dict, prefix=meta["prefix"] + path)
        h0 = arrays.get(f"{start}{path}/h0")
        y, final = execute(weights, arrays[f"{start}{path}/x"], None if h0 is None else (h0,))
        assert_close(y, arrays[f"{start}{path}/h"], what=path)
        if f"{start}{path}/c" in arrays:
            assert_close(final[0][1], arrays[f"{start}{path}/c"], what=path)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_layers_of_direct_are_networks_of_their_own(execute, layer):
    weights, _, arrays = adopted("direct_convgru", layer=layer)
    y, _ = execute(weights, arrays[f"x_l{layer}"], (arrays[f"h0_l{layer}"],))
    assert_close(y, arrays[f"h_l{layer}"], what=layer)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_is_no_such_network_is_refused_with_the_reason(name, reason):
    _, state_dict, _ = load_golden(f"foreign/{name}")
    with pytest.raises(convgru.WeightsError, match=re.escape(reason)):
        convgru.adopt(state_dict)


@pytest.mark.parametrize("name", sorted(SEVERAL))
def test_several_networks_are_listed(name):
    _, state_dict, _ = load_golden(f"foreign/{name}")
    with pytest.raises(convgru.WeightsError, match=r"there are several networks, choose one by (prefix|layer)="):
        convgru.adopt(state_dict)
    found = convgru.importers.survey(state_dict)
    assert len(found.matches) >= 2
    assert set(found.left) | {name for match in found.matches for name in match.claims} == set(state_dict)


@pytest.mark.parametrize("name", ONE)
def test_recognised_without_being_told(name):
    """By names and shapes alone, without layout, prefix and hints."""
    _, state_dict, _ = load_golden(f"foreign/{name}")
    (found,) = convgru.importers.survey(state_dict).matches
    assert convgru.adopt(state_dict).spec == found.spec


def test_every_golden_is_in_a_table():
    names = {path.stem for path in FOREIGN.glob("*.npz")}
    assert names == {*ONE, *REFUSED, *SEVERAL}
