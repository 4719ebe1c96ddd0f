"""With a kernel of 1 on 1x1 frames the numbers are those of mindspore.nn.GRU, LSTM and RNN."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru.mindspore as cm
from convgru.spec import network

HIDDEN = 5
OWN: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru": (nn.GRU, {"reset": "after"}),
    "lstm": (nn.LSTM, {}),
    "rnn": (nn.RNN, {}),
}


@pytest.mark.parametrize("cell", OWN)
def test_a_convolution_of_one_pixel_is_mindspores_own_network(cell: str, mode: str, make: Any, build: Any) -> None:
    kind, options = OWN[cell]
    made = make(network(cell, 3, [HIDDEN, HIDDEN], 1, **options), (1, 1))
    theirs = kind(3, HIDDEN, 2)
    fill(theirs, made.weights.arrays)
    x, state = made.tensors
    flat = ms.Tensor(made.x[..., 0, 0])
    stacked = np.stack([np.stack(entry if cell == "lstm" else (entry,)) for entry in made.state])[..., 0, 0]
    start = tuple(ms.Tensor(np.ascontiguousarray(stacked[:, part])) for part in range(stacked.shape[1]))
    wanted, final = theirs(flat, start if cell == "lstm" else start[0])
    got, state = build(made)(x, state)
    assert np.abs(got.asnumpy()[..., 0, 0] - wanted.asnumpy()).max() < 2e-4  # theirs has the native tanh
    last = final[0] if cell == "lstm" else final
    for layer in range(2):
        h = state[layer][0] if cell == "lstm" else state[layer]
        assert np.abs(h.asnumpy()[..., 0, 0] - last.asnumpy()[layer]).max() < 2e-4


def fill(net: Any, arrays: Any) -> None:
    """Copy the weights into MindSpore's network: bias as input bias, bias_hn as hidden bias."""
    native = {parameter.name: parameter for parameter in net.get_parameters()}
    for layer in range(2):
        prefix = f"layers.{layer}.fwd."
        for kind in ("ih", "hh"):
            matrix = arrays[f"{prefix}weight_{kind}"]
            native[f"weight_{kind}_l{layer}"].set_data(ms.Tensor(matrix.reshape(matrix.shape[:2])))
        native[f"bias_ih_l{layer}"].set_data(ms.Tensor(arrays[prefix + "bias"]))
        hidden = np.zeros(arrays[prefix + "bias"].shape, np.float32)
        if prefix + "bias_hn" in arrays:
            hidden[-HIDDEN:] = arrays[prefix + "bias_hn"]
        native[f"bias_hh_l{layer}"].set_data(ms.Tensor(hidden))


@pytest.mark.parametrize("lengths", [None, [2, 4, 1], [4, 0, 3]])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_both_directions_with_unsorted_lengths(cell: str, lengths: Any) -> None:
    """Samples with at least one frame: mindspore.nn does not define the others."""
    kind, options = OWN[cell]
    rng = np.random.default_rng(0)
    theirs = kind(3, HIDDEN, 2, bidirectional=True)
    ours = {"gru": cm.ConvGRU, "lstm": cm.ConvLSTM}[cell](3, [HIDDEN] * 2, 1, bidirectional=True, **options)
    native = {parameter.name: parameter for parameter in theirs.get_parameters()}
    for layer in range(2):
        for direction, suffix in (("fwd", ""), ("bwd", "_reverse")):
            inner = getattr(ours.layers[layer], direction)
            for kind in ("ih", "hh"):
                matrix = getattr(inner, f"weight_{kind}").asnumpy()[..., 0, 0]
                native[f"weight_{kind}_l{layer}{suffix}"].set_data(ms.Tensor(matrix))
            inner.bias.set_data(ms.Tensor(rng.standard_normal(inner.bias.shape).astype(np.float32)))
            native[f"bias_ih_l{layer}{suffix}"].set_data(ms.Tensor(inner.bias.asnumpy()))
            hidden = np.zeros(inner.bias.shape, np.float32)
            if inner.bias_hn is not None:
                inner.bias_hn.set_data(ms.Tensor(rng.standard_normal(HIDDEN).astype(np.float32)))
                hidden[-HIDDEN:] = inner.bias_hn.asnumpy()
            native[f"bias_hh_l{layer}{suffix}"].set_data(ms.Tensor(hidden))
    x = rng.standard_normal((4, 3, 3)).astype(np.float32)
    zeros = ms.Tensor(np.zeros((4, 3, HIDDEN), np.float32))
    given = None if lengths is None else ms.Tensor(lengths, ms.int32)
    wanted, last = theirs(ms.Tensor(x), zeros if cell == "gru" else (zeros, zeros), given)
    got, state = ours(ms.Tensor(x[..., None, None]), None, given)
    last = last if cell == "gru" else last[0]
    alive = [b for b in range(3) if lengths is None or lengths[b]]
    assert np.abs((got.asnumpy()[..., 0, 0] - wanted.asnumpy())[:, alive]).max() < 2e-4  # theirs has the native tanh
    for index, entry in enumerate(state):
        h = entry if cell == "gru" else entry[0]
        assert np.abs((h.asnumpy()[..., 0, 0] - last.asnumpy()[index])[alive]).max() < 2e-4
