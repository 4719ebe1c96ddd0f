"""Results of other implementations, reproduced by the reference and every installed backend."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, load_golden

import convgru


def test_pytorch_convgru(execute):
    meta, state_dict, arrays = load_golden("pytorch_convgru")
    weights = convgru.adopt(state_dict, **meta["args"])
    y, state = execute(weights, arrays["x"])
    for t in range(len(y)):
        assert_close(y[t], arrays[f"h_t{t}_l1"])
    assert_close(state[0], arrays["h_t3_l0"])
    assert_close(state[1], arrays["h_t3_l1"])


def test_pytorch_convgru_frame_by_frame(execute):
    meta, state_dict, arrays = load_golden("pytorch_convgru")
    weights, state = convgru.adopt(state_dict, **meta["args"]), None
    for t, frame in enumerate(arrays["x"]):
        _, state = execute(weights, frame[None], state)
        assert_close(state[0], arrays[f"h_t{t}_l0"])
        assert_close(state[1], arrays[f"h_t{t}_l1"])


def test_convlstm_pytorch(execute):
    meta, state_dict, arrays = load_golden("convlstm_pytorch")
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), arrays["x"].swapaxes(0, 1))
    assert_close(y.swapaxes(0, 1), arrays["output_l1"])
    for layer in (0, 1):
        assert_close(state[layer][0], arrays[f"h_l{layer}"])
        assert_close(state[layer][1], arrays[f"c_l{layer}"])


@pytest.mark.parametrize("name", ["conv1d_rnn", "conv2d_gru", "conv2d_lstm", "conv2d_peephole", "conv3d_gru"])
def test_convolutional_rnn(execute, name):
    """Directions, lengths, dilation, even kernels and peepholes, in one to three dimensions."""
    meta, state_dict, arrays = load_golden(f"convolutional_rnn.{name}")
    x, want = arrays["x"], arrays["output"]
    if meta["args"].get("batch_first"):
        x, want = x.swapaxes(0, 1), want.swapaxes(0, 1)
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), x, lengths=meta["lengths"])
    assert_close(y, want)
    pairs = [entry if isinstance(entry, tuple) else (entry,) for entry in state]
    for part, parts in zip("hc", zip(*pairs, strict=True), strict=False):
        assert_close(np.stack(parts), arrays[part])


def test_biconvgru(execute):
    """A whole stack forward, a whole stack backward, on the pooled input."""
    meta, state_dict, arrays = load_golden("biconvgru")
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), arrays["x"].swapaxes(0, 1))
    assert_close(y.swapaxes(0, 1), arrays["output_l1"])
    for entry, h in enumerate(state):
        word = ("forward", "reverse")[entry % 2]
        assert_close(h, arrays[f"state_{word}_l{entry // 2}"])


def test_bidirectional_conv_lstm(execute):
    """With its batch norm folded into the weights.

    The original keeps its backward half in reversed time, and its states side by side.
    """
    meta, state_dict, arrays = load_golden("bidirectional_conv_lstm")
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), arrays["x"].swapaxes(0, 1))
    y, half = y.swapaxes(0, 1), y.shape[2] // 2
    assert_close(np.concatenate([y[:, :, :half], y[:, ::-1, half:]], 2), arrays["output"])
    for index, part in enumerate("hc"):
        assert_close(np.concatenate([entry[index] for entry in state], -1), arrays[part])
