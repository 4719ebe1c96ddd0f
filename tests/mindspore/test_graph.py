"""Graph mode: no recompilation for a new state, compiled user networks, MindIR out and in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru.mindspore as cm
from convgru.spec import forecaster, network
from convgru.spec.shapes import state_leaves


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_new_state_does_not_compile_again(cell: str, graph: str, make: Any, build: Any, to_tensors: Any) -> None:
    made = make(network(cell, 2, [3, 2]), (5, 4))
    net = build(made)
    x, state = made.tensors
    outputs = [net(x, state)[0].asnumpy().copy()]
    compiled = len(net.compile_cache)
    for _ in range(2):
        _, state = net(x, state)
        outputs.append(net(x, state)[0].asnumpy().copy())
    assert len(net.compile_cache) == compiled
    assert np.abs(outputs[1] - outputs[0]).max() > 1e-2
    assert np.abs(outputs[2] - outputs[1]).max() > 1e-4
    nn.Cell.__call__(net, x, to_tensors(made.state))
    assert len(net.compile_cache) > compiled, "a plain tuple compiles again: the wrapping is what this test is about"


@pytest.mark.parametrize("decoder", [False, True])
def test_a_forecaster_resumes_in_graph_mode(decoder: bool, graph: str, make: Any, build: Any, eps_off: Any) -> None:
    made = make(forecaster("gru", 1, 2, patch=2, decoder=decoder), (4, 2), "float32", 3)
    net = build(made)
    x, state = made.tensors
    head, state = net(x, 1, state)
    tail, state = net(head, 2, state, resume=True)
    assert eps_off(ms.ops.cat((head, tail)), made.y) < 16
    with pytest.raises(ValueError, match="expected one frame to resume from"):
        net(x, 2, state, resume=True)


def test_a_users_compiled_network_may_hold_ours(graph: str, make: Any, build: Any) -> None:
    made = make(network("lstm", 2, 3), (5, 4))
    x, ((h, c),) = made.tensors

    class Outer(nn.Cell):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def construct(self, x: Any, h: Any, c: Any) -> Any:
            y, state = self.inner(x[:2], ((h, c),))
            last, _ = self.inner.step(x[2], state)
            return y, last

    y, last = Outer(build(made))(x, h, c)
    assert np.abs(y.asnumpy() - made.y[:2]).max() < 2e-6
    assert np.abs(last.asnumpy() - made.y[2]).max() < 2e-6


def test_jitted_function_checks_its_input_too(make: Any, build: Any) -> None:
    made = make(network("gru", 2, 3), (5, 4))
    net = build(made)

    @ms.jit
    def call(x: Any, h: Any) -> Any:
        y, _ = net(x, (h,))
        return y

    x, (h,) = made.tensors
    assert np.abs(call(x, h).asnumpy() - made.y).max() < 2e-6
    with pytest.raises(ValueError, match=r"ConvGRU state\[0\] \(h\) expected shape \(2, 3, 5, 4\), got \(2, 3, 1, 1\)"):
        call(x, h[:, :, :1, :1])


CASES = {
    "gru": (network("gru", 2, [3, 2], reset="after"), (5, 4), None),
    "lstm-1d": (network("lstm", 2, [3, 2], ndim=1), (6,), None),
    "rnn-3d": (network("rnn", 2, 2, 2, ndim=3), (3, 4, 3), None),
    "forecaster": (forecaster("gru", 1, 3, patch=2), (4, 4), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_mindir_is_exact_and_its_state_is_live(name: str, graph: str, make: Any, build: Any, tmp_path: Path) -> None:
    spec, size, steps = CASES[name]
    made = make(spec, size, steps=steps)
    flat = cm.Flat(build(made), steps)
    x, state = made.tensors
    leaves = [leaf for _, leaf in state_leaves(spec, state)]
    ms.export(flat, x, *leaves, file_name=str(tmp_path / "net"), file_format="MINDIR")
    loaded = nn.GraphCell(ms.load(str(tmp_path / "net.mindir")))
    for scale in (1.0, -0.5):
        moved = [leaf * scale for leaf in leaves]
        got, wanted = loaded(x, *moved), flat(x, *moved)
        assert len(got) == len(wanted) == 1 + len(leaves)
        for one, other in zip(got, wanted, strict=True):
            assert np.array_equal(one.asnumpy(), other.asnumpy())
    assert np.abs(loaded(x, *moved)[0].asnumpy() - made.y).max() > 1e-2
    assert np.abs(loaded(x, *leaves)[0].asnumpy() - made.y).max() < 1e-5


@pytest.mark.parametrize("steps", [1, 4])
def test_forecaster_horizon_in_graph_mode(steps: int, graph: str, make: Any, build: Any) -> None:
    made = make(forecaster("lstm", 1, [3, 2], patch=2), (4, 4), steps=steps)
    frames, _ = build(made)(made.tensors[0], steps, made.tensors[1])
    assert frames.shape[0] == steps
    assert np.abs(frames.asnumpy() - made.y).max() < 1e-5 * max(1, np.abs(made.y).max())


def test_training_lowers_the_loss(mode: str) -> None:
    ms.set_seed(0)
    rng = np.random.default_rng(0)
    x, target = (ms.Tensor(rng.standard_normal((3, 2, c, 4, 4)).astype(np.float32)) for c in (1, 3))
    net = cm.ConvGRU(1, 3)

    def loss_of(x: Any, target: Any) -> Any:
        y, _ = net(x)
        return ((y - target * 0.1) ** 2).mean()

    optimiser = nn.Adam(net.trainable_params(), 0.02)
    derive = ms.value_and_grad(loss_of, None, optimiser.parameters)
    losses = []
    for _ in range(15):
        loss, gradients = derive(x, target)
        optimiser(gradients)
        losses.append(float(loss.asnumpy()))
    assert losses[-1] < 0.7 * losses[0]
