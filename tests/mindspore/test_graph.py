"""Graph mode: no recompilation for a new state, compiled user networks, MindIR out and in."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru.mindspore as cm
from convgru import reference
from convgru.spec import network
from convgru_mindspore import backend


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


def test_nothing_of_a_call_compiles_again(graph: str, make: Any) -> None:
    made = make(network("gru", 2, 3, zoneout=0.3), (3, 4))
    net, rng = backend.build(made.weights), np.random.default_rng(0)
    x, state = made.tensors
    compiled, outputs = 0, []
    for index, lengths in enumerate(([3, 2], [1, 3], [0, 0])):
        context = (ms.Tensor(rng.standard_normal((2, 9, 3, 4)).astype(np.float32)),)
        masks = {"zoneout.0.h": ms.Tensor((rng.random((3, 2, 3, 3, 4)) < 0.3).astype(np.float32))}
        y, state = net(x, state, ms.Tensor(lengths), context=context, masks=masks)
        outputs.append(y.asnumpy())
        compiled = len(net.compile_cache) if index == 0 else compiled
        wanted, _ = reference.run(
            made.weights, made.x, made.state, lengths=lengths, masks={n: m.asnumpy() for n, m in masks.items()},
            context=[c.asnumpy() for c in context],
        )  # fmt: skip
        if index == 0:
            assert np.abs(y.asnumpy() - wanted).max() < 2e-6
    assert len(net.compile_cache) == compiled
    assert np.abs(outputs[1] - outputs[0]).max() > 1e-3
    assert not outputs[2].any()
