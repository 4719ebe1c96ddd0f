"""``to_float`` and ``mindspore.amp`` in both modes: only convolutions compute in float16."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru.mindspore as cm
from convgru.errors import UnsupportedError
from convgru.spec import forecaster, network
from convgru_mindspore import backend

HALF = float(np.finfo(np.float16).eps)
LEVELS = ("to_float", "O1", "O2", "O3")


class Model(nn.Cell):
    """A user's model that holds a network between convolutions of its own."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.before, self.net, self.after = nn.Conv2d(2, 2, 3), net, nn.Conv2d(3, 1, 3)

    def construct(self, x: Any) -> Any:
        y, state = self.net(each_frame(self.before, x))
        last, state = self.net.step(self.before(x[0]), state)
        return self.after(y[0] + last), state


class Loss(nn.Cell):
    """A number made of a model's output and state."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def construct(self, x: Any) -> Any:
        out, state = self.model(x)
        return (out.astype(ms.float32) ** 2).mean() + (state[0] ** 2).mean()


def each_frame(layer: Any, x: Any) -> Any:
    """A layer on each frame of a sequence."""
    return layer(x.reshape((-1, *x.shape[2:]))).reshape(x.shape)


def lowered(net: Any, level: str) -> Any:
    """The network in mixed precision."""
    if level == "to_float":
        return net.to_float(ms.float16)
    return ms.amp.auto_mixed_precision(net, level)


NETWORKS: dict[str, Any] = {
    "gru": network("gru", 2, [4, 3], reset="after"),
    "lstm": network("lstm", 2, 3, peephole="conv", norm=1, bidirectional=True),
    "forecaster": forecaster("gru", 1, 3, patch=2, decoder=True),
}


# Graphs compile for seconds each: every level once, and every network.
COMPILED = [("gru", "to_float"), ("lstm", "O1"), ("lstm", "O2"), ("forecaster", "O3")]
CLOSE = [("pynative", *each) for each in product(NETWORKS, LEVELS)] + [("graph", *each) for each in COMPILED]


@pytest.mark.parametrize(("mode", "name", "level"), CLOSE, indirect=["mode"])
def test_close_to_full_precision_with_the_state_in_the_parameters_dtype(
    mode: str, name: str, level: str, make: Any
) -> None:
    spec = NETWORKS[name]
    steps = 3 if name == "forecaster" else None
    made = make(spec, (4, 4), steps=steps)
    x, state = made.tensors
    net = lowered(backend.build(made.weights), level)
    arguments = (x, state) if steps is None else (x, steps, state)
    y, final = net(*arguments)
    assert y.dtype == ms.float32
    error = np.abs(y.asnumpy() - made.y).max() / max(1, np.abs(made.y).max())
    assert error < 16 * HALF
    if level != "O1":  # MindSpore's rewriter does not reach inside
        assert error > 1e-5, "nothing was computed in float16"
    for entry in final:
        for part in entry if isinstance(entry, tuple) else (entry,):
            assert part.dtype == ms.float32
    if steps is None:
        again, _ = net(x, final)
        assert np.isfinite(again.asnumpy()).all()


@cache
def plain_gradients() -> tuple[Any, ...]:
    """The gradients of a model of seed 0 in full precision, in PyNative mode."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(0)
    model = Model(cm.ConvGRU(2, 3))
    gradients = ms.grad(Loss(model), None, ms.ParameterTuple(model.trainable_params()))(frames())
    ms.set_context(mode=before)
    return tuple(gradient.asnumpy() for gradient in gradients)


def frames() -> Any:
    """The input of a model."""
    return ms.Tensor(np.random.default_rng(0).standard_normal((3, 2, 2, 5, 4)).astype(np.float32))


@pytest.mark.parametrize("level", LEVELS)
def test_inside_a_users_model_with_gradients(level: str, mode: str) -> None:
    wanted = plain_gradients()
    ms.set_seed(0)
    model = lowered(Model(cm.ConvGRU(2, 3)), level)
    gradients = ms.grad(Loss(model), None, ms.ParameterTuple(model.trainable_params()))(frames())
    assert len(gradients) == len(wanted)
    for got, want in zip(gradients, wanted, strict=True):
        assert got.dtype == ms.float32
        assert np.isfinite(got.asnumpy()).all()
        assert np.abs(got.asnumpy() - want).max() < 64 * HALF * max(1, np.abs(want).max())


def test_one_layer_alone_and_back(make: Any, mode: str) -> None:
    made = make(network("gru", 2, [4, 3]), (4, 4))
    net, (x, state) = backend.build(made.weights), made.tensors
    full = net(x, state)[0].asnumpy().copy()
    net.to_float(ms.float16)
    both = net(x, state)[0].asnumpy().copy()
    net.to_float(ms.float32)
    assert np.array_equal(net(x, state)[0].asnumpy(), full)
    net.layers[1].fwd.to_float(ms.float16)
    net.compile_cache.clear()  # of a network whose parts have changed, as in MindSpore
    one = net(x, state)[0].asnumpy()
    assert 1e-6 < np.abs(one - full).max() < 16 * HALF
    assert np.abs(one - both).max() > 1e-6


def test_a_state_of_float16_is_taken_under_float16_alone(make: Any, mode: str) -> None:
    made = make(network("lstm", 2, 3), (4, 4))
    net, (x, ((h, c),)) = backend.build(made.weights), made.tensors
    low = ((h.astype(ms.float16), c.astype(ms.float16)),)
    with pytest.raises(TypeError, match=r"expected state\[0\] \(h\) of dtype float32"):
        net(x, low)
    y, _ = net.to_float(ms.float16)(x.astype(ms.float16), low)
    assert y.dtype == ms.float32
    assert np.abs(y.asnumpy() - made.y).max() < 16 * HALF


def test_bfloat16_is_refused_at_once() -> None:
    with pytest.raises(UnsupportedError, match="MindSpore does not compute in bfloat16 on CPU"):
        cm.ConvGRU(2, 3).to_float(ms.bfloat16)
