"""What other implementations computed, reproduced by the reference and by every backend that is installed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import convgru
from convgru import reference, registry

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
RUNNERS = ("reference", *registry.ROOMS)


@cache
def load(name):
    """Meta, state dict and the other arrays of a golden."""
    with np.load(GOLDENS / f"{name}.npz", allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    meta = json.loads(str(arrays.pop("meta")))
    start = "state_dict/"
    state_dict = {key.removeprefix(start): arrays.pop(key) for key in list(arrays) if key.startswith(start)}
    return meta, state_dict, arrays


@pytest.fixture(params=RUNNERS)
def execute(request):
    """A function (weights, x, state=None) -> output, state, of the reference or of a backend."""
    if request.param == "reference":
        return reference.run
    try:
        backend = registry.get(request.param)
    except ImportError as error:
        pytest.skip(str(error))

    def run(weights, x, state=None):
        with backend.precise():
            y, final, _ = backend.execute(weights, np.ascontiguousarray(x), state)
        return y, final

    return run


def close(got, want):
    assert got.shape == want.shape
    return np.abs(np.asarray(got) - want).max() <= 1e-12


def test_pytorch_convgru(execute):
    meta, state_dict, arrays = load("pytorch_convgru")
    weights = convgru.adopt(state_dict, **meta["args"])
    y, state = execute(weights, arrays["x"])
    for t in range(len(y)):
        assert close(y[t], arrays[f"h_t{t}_l1"])
    assert close(state[0], arrays["h_t3_l0"])
    assert close(state[1], arrays["h_t3_l1"])


def test_pytorch_convgru_frame_by_frame(execute):
    meta, state_dict, arrays = load("pytorch_convgru")
    weights, state = convgru.adopt(state_dict, **meta["args"]), None
    for t, frame in enumerate(arrays["x"]):
        _, state = execute(weights, frame[None], state)
        assert close(state[0], arrays[f"h_t{t}_l0"])
        assert close(state[1], arrays[f"h_t{t}_l1"])


def test_convlstm_pytorch(execute):
    meta, state_dict, arrays = load("convlstm_pytorch")
    y, state = execute(convgru.adopt(state_dict, **meta["args"]), arrays["x"].swapaxes(0, 1))
    assert close(y.swapaxes(0, 1), arrays["output_l1"])
    for layer in (0, 1):
        assert close(state[layer][0], arrays[f"h_l{layer}"])
        assert close(state[layer][1], arrays[f"c_l{layer}"])


def test_convolutional_rnn_conv2d_gru(execute):
    """Two bidirectional layers with lengths, composed of four networks of one layer, each sample run by itself."""
    meta, state_dict, arrays = load("convolutional_rnn.conv2d_gru")
    x, lengths = arrays["x"], meta["lengths"]
    for layer in (0, 1):
        outputs = []
        for direction, suffix in enumerate(("", "_reverse")):
            found = {
                f"{name}_l0": state_dict[f"{name}_l{layer}{suffix}"]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            weights = convgru.adopt(found, "convolutional_rnn")
            assert weights.spec.layers[0].reset == "after"
            out = np.zeros((*x.shape[:2], *arrays["h"].shape[2:]))
            for sample, length in enumerate(lengths):
                flip = slice(None, None, -1 if direction else 1)
                y, state = execute(weights, x[:length, sample : sample + 1][flip])
                out[:length, sample] = y[flip, 0]
                assert close(state[0][0], arrays["h"][2 * layer + direction, sample])
            outputs.append(out)
        x = np.concatenate(outputs, axis=2)
    assert close(x, arrays["output"])
