"""What other implementations computed, reproduced by the reference and by every backend that is installed."""

from __future__ import annotations

import numpy as np
import pytest

import convgru


def close(got, want):
    assert got.shape == want.shape
    return np.abs(np.asarray(got) - want).max() <= 1e-12


def test_pytorch_convgru(execute, golden):
    meta, state_dict, arrays = golden("pytorch_convgru")
    weights = convgru.adopt(state_dict, **meta["args"])
    y, state = execute(weights, arrays["x"])
    for t in range(len(y)):
        assert close(y[t], arrays[f"h_t{t}_l1"])
    assert close(state[0], arrays["h_t3_l0"])
    assert close(state[1], arrays["h_t3_l1"])


def test_pytorch_convgru_frame_by_frame(execute, golden):
    meta, state_dict, arrays = golden("pytorch_convgru")
    weights, state = convgru.adopt(state_dict, **meta["args"]), None
    for t, frame in enumerate(arrays["x"]):
        _, state = execute(weights, frame[None], state)
        assert close(state[0], arrays[f"h_t{t}_l0"])
        assert close(state[1], arrays[f"h_t{t}_l1"])


def test_convlstm_pytorch(execute, golden):
    meta, state_dict, arrays = golden("convlstm_pytorch")
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), arrays["x"].swapaxes(0, 1))
    assert close(y.swapaxes(0, 1), arrays["output_l1"])
    for layer in (0, 1):
        assert close(state[layer][0], arrays[f"h_l{layer}"])
        assert close(state[layer][1], arrays[f"c_l{layer}"])


@pytest.mark.parametrize("name", ["conv1d_rnn", "conv2d_gru", "conv2d_lstm", "conv2d_peephole", "conv3d_gru"])
def test_convolutional_rnn(execute, golden, name):
    """Directions, lengths, dilation, even kernels and peepholes, in one, two and three dimensions."""
    meta, state_dict, arrays = golden(f"convolutional_rnn.{name}")
    x, want = arrays["x"], arrays["output"]
    if meta["args"].get("batch_first"):
        x, want = x.swapaxes(0, 1), want.swapaxes(0, 1)
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), x, lengths=meta["lengths"])
    assert close(y, want)
    pairs = [entry if isinstance(entry, tuple) else (entry,) for entry in state]
    for part, parts in zip("hc", zip(*pairs, strict=True), strict=False):
        assert close(np.stack(parts), arrays[part])


def test_biconvgru(execute, golden):
    """A whole stack forward, a whole stack backward, on the pooled input."""
    meta, state_dict, arrays = golden("biconvgru")
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), arrays["x"].swapaxes(0, 1))
    assert close(y.swapaxes(0, 1), arrays["output_l1"])
    for entry, h in enumerate(state):
        word = ("forward", "reverse")[entry % 2]
        assert close(h, arrays[f"state_{word}_l{entry // 2}"])


def test_bidirectional_conv_lstm(execute, golden):
    """With its batch norm folded; that its backward half is in reversed time, and its states side by side, is its own."""
    meta, state_dict, arrays = golden("bidirectional_conv_lstm")
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), arrays["x"].swapaxes(0, 1))
    y, half = y.swapaxes(0, 1), y.shape[2] // 2
    assert close(np.concatenate([y[:, :, :half], y[:, ::-1, half:]], 2), arrays["output"])
    for index, part in enumerate("hc"):
        assert close(np.concatenate([entry[index] for entry in state], -1), arrays[part])
