"""Layouts of which there is no golden, put together by hand; and every layout out and in again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import assert_close, random_weights

import convgru
from convgru import importers, reference
from convgru.importers.tables import LAYOUTS


def by_hand(spec, names, order, *, kio=False, hx=False, negative=""):
    """Weights, and an original's arrays: its convolutions joined or apart, as ``names`` say."""
    weights = random_weights(spec)
    arrays = {name.removeprefix("layers.0.fwd."): array for name, array in weights.arrays.items()}
    gates = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}[spec.cell]
    found = {}
    for name, (parts, rows) in names.items():
        blocks = []
        for part in parts:
            chunks = dict(zip(gates, np.split(arrays[part], len(gates)), strict=True))
            blocks.append(np.concatenate([-chunks[g] if g in negative else chunks[g] for g in (rows or order)]))
        if hx:
            blocks.reverse()
        array = np.concatenate(blocks, 1) if len(blocks) > 1 else blocks[0]
        found[name] = np.moveaxis(array, (1, 0), (-2, -1)) if kio and array.ndim > 1 else array
    return weights, found


def _separate(x, h, bias):
    return {x: (["weight_ih"], ""), h: (["weight_hh"], ""), bias: (["bias"], "")}


def _raft(kernel, start, update=""):
    both = [f"{update}weight_ih", f"{update}weight_hh"]
    names = {f"{start}conv{key}.weight": (both, gate) for key, gate in (("z", "z"), ("r", "r"), ("q", "n"))}
    return names | {
        f"{start}conv{key}.bias": ([f"{update}bias"], gate) for key, gate in (("z", "z"), ("r", "r"), ("q", "n"))
    }


JOINED = ["weight_ih", "weight_hh"]


def test_sonnet_has_one_bias_which_holds_the_forget_bias_already():
    names = _separate("net/conv2d_lstm/input_to_hidden/w", "net/conv2d_lstm/hidden_to_hidden/w", "net/conv2d_lstm/b")
    for ndim in (1, 2, 3):
        weights, arrays = by_hand(convgru.network("lstm", 2, 3, ndim=ndim), names, "ifgo", kio=True)
        assert convgru.adopt(arrays, output_channels=3, kernel_shape=3).equal(weights)


@pytest.mark.parametrize("forget", [None, 0.0, 2.5])
def test_tf_contrib_adds_its_forget_bias_when_it_runs(forget):
    names = {"rnn/conv_lstm_cell/kernel": (JOINED, ""), "rnn/conv_lstm_cell/biases": (["bias"], "")}
    weights, arrays = by_hand(convgru.network("lstm", 2, 3, (3, 5)), names, "igfo", kio=True)
    found = convgru.adopt(arrays, **({} if forget is None else {"forget_bias": forget}))
    wanted = dict(weights.arrays)
    shift = np.repeat([0.0, 1.0 if forget is None else forget, 0.0, 0.0], 3)
    wanted["layers.0.fwd.bias"] = weights.arrays["layers.0.fwd.bias"] + shift
    assert found.equal(convgru.Weights(weights.spec, wanted))
    kept = {f"{name}/{slot}": array for name, array in arrays.items() for slot in ("Adam", "Adam_1")}
    assert convgru.adopt({**arrays, **kept}).spec == weights.spec  # a training checkpoint
    with pytest.raises(convgru.WeightsError, match="forget_bias expected a number"):
        convgru.adopt(arrays, forget_bias="one")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_mxnet_gluon(cell):
    """Its input convolution pads nothing by default, and its kernels may differ."""
    reset = {"reset": "after"} if cell == "gru" else {}
    spec = convgru.network(cell, 2, 3, 5, recurrent_kernel_size=3, padding=1, recurrent_dilation=2, dilation=1, **reset)
    start = "encoder_conv0_"
    names = _separate(f"{start}i2h_weight", f"{start}h2h_weight", f"{start}i2h_bias")
    weights, arrays = by_hand(spec, names, {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}[cell])
    bias = np.zeros(len(arrays[f"{start}i2h_bias"]))
    if cell == "gru":
        bias[6:] = weights.arrays["layers.0.fwd.bias_hn"]
    arrays[f"{start}h2h_bias"] = bias
    hints = {"i2h_kernel": 5, "h2h_kernel": (3, 3), "i2h_pad": (1, 1), "h2h_dilate": 2, "hidden_channels": 3}
    assert convgru.adopt(arrays, **hints).equal(weights)
    assert convgru.adopt(arrays).spec.layers[0].input_convolution.output_size((9, 9)) == (5, 5)


def test_torchvision_raft_is_two_updates_and_its_small_model_one():
    spec = convgru.network("gru", 2, 3, updates=((1, 5), (5, 1)))
    start = "module.update_block.recurrent_block."
    names = _raft(None, f"{start}convgru1.", "updates.0.") | _raft(None, f"{start}convgru2.", "updates.1.")
    weights, arrays = by_hand(spec, names, "rzn", hx=True, negative="z")
    head = {"module.flow_head.weight": np.ones((2, 3, 3, 3))}
    assert convgru.adopt({**arrays, **head}, hidden_size=3, input_size=2).equal(weights)
    assert importers.survey({**arrays, **head}).left == ("module.flow_head.weight",)
    weights, arrays = by_hand(
        convgru.network("gru", 2, 3), _raft(None, f"{start}convgru1."), "rzn", hx=True, negative="z"
    )
    assert convgru.adopt(arrays, prefix=start).equal(weights)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("start", ["", "cell.net_", "encoder."])
def test_the_mindspore_port_often_has_no_biases(bias, start):
    weights = random_weights(convgru.network("gru", 3, [4, 6], [3, 5], bias=bias))
    foreign = importers.export(weights, "mindspore_convgru")
    assert sorted(foreign)[0].startswith("cell_0.out_gate.")
    found = {start + name: array for name, array in foreign.items()}
    assert convgru.adopt(found).equal(weights)


def options(layout):
    """Networks that a layout may have room for."""
    for bias in (True, False):
        for both in (layout.bidirectional if len(layout.directions) == 2 else None, None):
            for ndim in layout.ndims:
                for layers in (1, 2):
                    given = {"padding": "same", **layout.options, "bias": bias, "bidirectional": both, "ndim": ndim}
                    sizes = [3, 2][:layers]
                    kernel = 1 if layout.form == "oi" else 3
                    if layout.norm_channels:
                        sizes, given["norm"] = [32] * layers, (4,) if layout.cell == "lstm" else (2, 1)
                    yield convgru.network(layout.cell, 2, sizes, [kernel] * layers, **given)


CONSTANT = ("linen", "linen.both", "haiku", "tf_contrib")


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_exported_is_read_back(name):
    """To the byte, but for a forget bias that the original adds when it runs: that is rounded."""
    tried = 0
    for spec in options(LAYOUTS[name]):
        weights = random_weights(spec)
        try:
            foreign = importers.export(weights, name)
        except convgru.WeightsError:
            continue
        tried += 1
        start = "net/" if any("/" in key for key in foreign) else "net."
        ndim = {"ndim": spec.ndim} if LAYOUTS[name].form == "oi" else {}
        back = convgru.adopt({f"{start}{key}": array for key, array in foreign.items()}, name, **ndim)
        assert back.spec == replace(spec, layers=back.spec.layers)
        for key, array in weights.arrays.items():
            if name in CONSTANT and key.endswith("bias"):
                assert_close(back.arrays[key], array, eps=4, what=key)
            else:
                assert back.arrays[key].tobytes() == array.tobytes(), key
        x = np.random.default_rng(1).standard_normal((2, 1, 2, *(5,) * spec.ndim))
        assert_close(reference.run(back, x)[0], reference.run(weights, x)[0])
    never = [name for name, each in LAYOUTS.items() if any(p.norm or p.spectral for p in each.pieces)]
    assert (
        tried
        or name in never
        or LAYOUTS[name].name in ("hzzone", "raft_sep", "torchvision_raft", "convolutional_rnn.peephole")
    )
