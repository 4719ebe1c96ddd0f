"""The forecaster: horizon, resumption, teacher forcing, in both modes."""

from __future__ import annotations

import inspect
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru.mindspore as cm
from convgru import reference
from convgru.spec import forecaster
from convgru_mindspore import backend


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


@pytest.mark.parametrize("steps", [1, 4])
def test_forecaster_horizon_in_graph_mode(steps: int, graph: str, make: Any, build: Any) -> None:
    made = make(forecaster("lstm", 1, [3, 2], patch=2), (4, 4), steps=steps)
    frames, _ = build(made)(made.tensors[0], steps, made.tensors[1])
    assert frames.shape[0] == steps
    assert np.abs(frames.asnumpy() - made.y).max() < 1e-5 * max(1, np.abs(made.y).max())


def test_forecaster_teaches_batch_first_too(make: Any, eps_off: Any) -> None:
    made = make(forecaster("gru", 1, [3, 2], patch=2, decoder=True), (4, 4), steps=3)
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((3, 2, 1, 4, 4)).astype(np.float32)
    forced = np.array([[True, False], [True, True], [False, False]])
    wanted, _ = reference.run(made.weights, made.x, steps=3, targets=targets, forced=forced)
    net = backend.build(made.weights, batch_first=True)
    turned = (ms.Tensor(a.swapaxes(0, 1).copy()) for a in (made.x, targets, forced))
    x, targets, forced = turned
    frames, _ = net(x, 3, targets=targets, forced=forced)
    assert eps_off(frames, wanted.swapaxes(0, 1)) < 15


@pytest.mark.parametrize(
    ("mode", "decoder"), [("pynative", False), ("pynative", True), ("graph", False)], indirect=["mode"]
)
def test_teacher_forcing_is_drawn_in_training(mode: str, decoder: bool, make: Any) -> None:
    made = make(forecaster("gru", 1, 3, patch=2, decoder=decoder), (4, 4), steps=4)
    net, x = backend.build(made.weights), ms.Tensor(made.x)
    targets = ms.Tensor(np.random.default_rng(1).standard_normal((4, 2, 1, 4, 4)).astype(np.float32))
    free = net(x, 4)[0].asnumpy()
    taught = net(x, 4, targets=targets, forced=ms.Tensor(np.ones((4, 2), bool)))[0].asnumpy()
    assert np.abs(free - taught).max() > 1e-2
    assert np.array_equal(net(x, 4, targets=targets, teacher_forcing=1.0)[0].asnumpy(), free)
    net.set_train()
    assert np.abs(net(x, 4, targets=targets, teacher_forcing=1.0)[0].asnumpy() - taught).max() < 2e-6
    compiled = len(net.compile_cache)
    ms.set_seed(0)
    seen = [net(x, 4, targets=targets, teacher_forcing=0.5)[0].asnumpy().copy() for _ in range(4)]
    assert any(np.abs(seen[0] - other).max() > 1e-3 for other in seen[1:])
    assert all(np.array_equal(a[0], free[0]) for a in seen) or mode == "graph"
    assert len(net.compile_cache) == compiled, "another probability does not compile again"


class Teacher(nn.Cell):
    """A user's model with a forecaster in training."""

    def __init__(self, case: int) -> None:
        super().__init__()
        self.net, self.case = cm.Forecaster("rnn", 1, 2, 1, ndim=1), case
        self.set_train()

    def construct(self, x: Any, forced: Any) -> Any:
        if self.case == 0:
            return self.net(x, 2, teacher_forcing=0.0)[0]
        if self.case == 1:
            return self.net(x, 2, targets=x, forced=forced, teacher_forcing=0.5)[0]
        return self.net(x, 2, targets=x, teacher_forcing=7.0)[0]


@pytest.mark.parametrize("case", range(3))
def test_teacher_forcing_is_checked_in_a_graph_too(case: int, graph: str) -> None:
    sentence = (None, "forced or teacher_forcing, got both", r"teacher_forcing to be a probability, got 7\.0")[case]
    model, x = Teacher(case), ms.Tensor(np.ones((2, 1, 1, 4), np.float32))
    if sentence is None:
        assert model(x, ms.Tensor([[True], [False]])).shape == (2, 1, 1, 4)
        return
    with pytest.raises((TypeError, ValueError), match=f"Forecaster expected {sentence}"):
        model(x, ms.Tensor([[True], [False]]))


def test_a_forecaster_in_training_uses_its_dropout(make: Any, mode: str) -> None:
    made = make(forecaster("lstm", 1, [3, 2], dropout=0.5, recurrent_dropout=0.3, zoneout=0.1), (4, 4), steps=3)
    net, (x, state) = backend.build(made.weights), made.tensors
    assert np.abs(net(x, 3, state)[0].asnumpy() - made.y).max() < 5e-6
    net.set_train()
    first, second = (net(x, 3, state)[0].asnumpy().copy() for _ in range(2))
    assert np.isfinite(first).all()
    assert np.abs(first - second).max() > 1e-3


def test_zero_state_is_what_none_stands_for() -> None:
    net, x = cm.Forecaster("lstm", 1, [3, 2], patch=2), ms.Tensor(np.ones((2, 3, 1, 4, 6), np.float32))
    state = net.zero_state(3, (4, 6))
    assert state[0][0].shape == (3, 3, 2, 3)
    assert np.array_equal(net(x, 2, state)[0].asnumpy(), net(x, 2)[0].asnumpy())


def test_the_signature_leaves_reset_to_the_cell() -> None:
    """Only a GRU's default is ``before``; tools that make a network from its signature pass it."""
    assert inspect.signature(cm.Forecaster).parameters["reset"].default is None
