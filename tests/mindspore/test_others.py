"""With a kernel of 1 on an image of 1x1 the numbers are those of mindspore.nn.GRU, LSTM and RNN."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

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
    got, state = build(made, accurate=False)(x, state)
    assert np.abs(got.asnumpy()[..., 0, 0] - wanted.asnumpy()).max() < 2e-4  # theirs has the native tanh
    last = final[0] if cell == "lstm" else final
    for layer in range(2):
        h = state[layer][0] if cell == "lstm" else state[layer]
        assert np.abs(h.asnumpy()[..., 0, 0] - last.asnumpy()[layer]).max() < 2e-4


def fill(net: Any, arrays: Any) -> None:
    """Give MindSpore's own network the weights: matrices, our bias for the input, bias_hn for the hidden state."""
    own = {parameter.name: parameter for parameter in net.get_parameters()}
    for layer in range(2):
        prefix = f"layers.{layer}.fwd."
        for kind in ("ih", "hh"):
            matrix = arrays[f"{prefix}weight_{kind}"]
            own[f"weight_{kind}_l{layer}"].set_data(ms.Tensor(matrix.reshape(matrix.shape[:2])))
        own[f"bias_ih_l{layer}"].set_data(ms.Tensor(arrays[prefix + "bias"]))
        hidden = np.zeros(arrays[prefix + "bias"].shape, np.float32)
        if prefix + "bias_hn" in arrays:
            hidden[-HIDDEN:] = arrays[prefix + "bias_hn"]
        own[f"bias_hh_l{layer}"].set_data(ms.Tensor(hidden))
