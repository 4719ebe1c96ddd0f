"""Dropout, recurrent dropout, zoneout, teacher forcing: in training alone, seeded, scaled right."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest

import convgru.mindspore as cm
from convgru import reference
from convgru.spec import network
from convgru.spec.shapes import mask_shapes
from convgru_mindspore import backend, masks

SPEC = network("gru", 2, [4, 3], dropout=0.4, recurrent_dropout=0.3, zoneout=0.2, bidirectional=True)
SIZE = (5, 4)


def ones(*shape: int) -> Any:
    """A tensor of ones."""
    return ms.Tensor(np.ones(shape, np.float32))


@pytest.mark.parametrize("dtype", [ms.float16, ms.float32, ms.float64])
def test_drawn_masks_have_the_scale_and_shapes(dtype: Any) -> None:
    ms.set_seed(0)
    drawn = masks.draw(SPEC, 7, 16, (8, 8), dtype)
    assert {name: mask.shape for name, mask in drawn.items()} == mask_shapes(SPEC, 7, 16, (8, 8))
    for name, mask in drawn.items():
        chance = {"dropout": 0.4, "recurrent": 0.3, "zoneout": 0.2}[name.split(".")[0]]
        values = mask.asnumpy()
        assert mask.dtype == dtype
        high = 1.0 if name.startswith("zoneout") else 1 / (1 - chance)
        assert set(np.unique(values)) == {0, values.dtype.type(high)}
        kept = (values > 0).mean()
        wanted = chance if name.startswith("zoneout") else 1 - chance
        assert abs(kept - wanted) < 4 * np.sqrt(chance * (1 - chance) / values.size)
    assert masks.draw(network("gru", 2, 3), 2, 2, SIZE, dtype) is None


OPTIONS = {
    "dropout": {"dropout": 0.5},
    "recurrent": {"recurrent_dropout": 0.5},
    "zoneout": {"zoneout": 0.5},
    "stack": {"dropout": 0.5, "bidirectional": "stack"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_training_draws_and_evaluation_does_not(name: str, make: Any, mode: str) -> None:
    made = make(network("lstm", 2, [4, 3], **OPTIONS[name]), SIZE)
    net = backend.build(made.weights)
    x, state = made.tensors

    def call() -> np.ndarray:
        return net(x, state)[0].asnumpy().copy()

    assert np.abs(call() - made.y).max() < 2e-6
    net.set_train()
    ms.set_seed(3)
    first, second = call(), call()
    assert np.abs(first - second).max() > 1e-3
    if mode == "pynative":  # a compiled graph goes on with its own random state
        ms.set_seed(3)
        assert np.array_equal(call(), first)
    net.set_train(False)
    assert np.abs(call() - made.y).max() < 2e-6


def test_masks_handed_in_count_in_training_too(make: Any, mode: str) -> None:
    made = make(network("gru", 2, [4, 3], dropout=0.5, zoneout=0.2), SIZE)
    rng = np.random.default_rng(0)
    given = {
        name: (rng.random(shape) < 0.5).astype(np.float32) for name, shape in mask_shapes(made.spec, 3, 2, SIZE).items()
    }
    wanted, _ = reference.run(made.weights, made.x, masks=given)
    net = backend.build(made.weights)
    tensors = {name: ms.Tensor(mask) for name, mask in given.items()}
    for training in (True, False):
        net.set_train(training)
        y, _ = net(ms.Tensor(made.x), masks=tensors)
        assert np.abs(y.asnumpy() - wanted).max() < 2e-6


def test_zoneout_keeps_that_share_of_the_state(make: Any) -> None:
    net = cm.ConvGRU(1, 16, zoneout=0.3).set_train()
    x, h = (
        ones(1, 8, 1, 16, 16),
        ms.Tensor(np.random.default_rng(0).standard_normal((8, 16, 16, 16)).astype(np.float32)),
    )
    y, _ = net(x, (h,))
    kept = (y.asnumpy()[0] == h.asnumpy()).mean()
    assert abs(kept - 0.3) < 0.01


def test_recurrent_dropout_has_one_mask_for_all_steps() -> None:
    """Recurrent dropout multiplies h' = relu(U∘m∘h), with U = 1 and no input.

    A dropped value is zero from the first step, any other grows by 1/(1−p).
    """
    net = cm.ConvRNN(1, 8, 1, activation="relu", has_bias=False, recurrent_dropout=0.5).set_train()
    net.layers[0].fwd.weight_hh.set_data(ms.Tensor(np.eye(8, dtype=np.float32).reshape(8, 8, 1, 1)))
    y, _ = net(ones(4, 2, 1, 6, 6) * 0, (ones(2, 8, 6, 6),))
    values = y.asnumpy()
    assert set(np.unique(values[0])) == {0, 2}
    for t in range(4):
        assert np.array_equal(values[t], (values[0] > 0) * 2.0 ** (t + 1))


def test_gradients_pass_through_the_same_masks() -> None:
    """Without a nonlinearity the gradient has the mask of the value."""
    net = cm.ConvRNN(1, [4, 4], 1, activation="relu", has_bias=False, dropout=0.5).set_train()
    for layer in net.layers:
        layer.fwd.weight_ih.set_data(layer.fwd.weight_ih.abs())
        layer.fwd.weight_hh.set_data(layer.fwd.weight_hh * 0)
    x = ones(2, 2, 1, 5, 5)
    value, slope = ms.value_and_grad(lambda x: net(x)[0].sum())(x)
    assert float(value.asnumpy()) == pytest.approx(float(slope.asnumpy().sum()), rel=1e-5)


def test_nan_in_the_padding_is_in_no_gradient(mode: str) -> None:
    net = cm.ConvGRU(2, 3, bidirectional=True, ndim=1)
    x, context = np.ones((4, 2, 2, 5), np.float32), np.ones((4, 2, 9, 5), np.float32)
    x[2:, 1] = context[2:, 1] = np.nan
    flat = cm.Flat(net, also=("context", "seq_length"))
    given = [ms.Tensor(x), ms.Tensor(context), ms.Tensor(context), ms.Tensor([4, 2])]
    inputs, parameters = ms.grad(flat, (0, 1, 2), net.trainable_params())(*given)
    for each in (*inputs, *parameters):
        assert np.isfinite(each.asnumpy()).all()
        assert each.asnumpy().any()


@pytest.mark.parametrize(
    ("mode", "cell"), [("pynative", "gru"), ("pynative", "lstm"), ("graph", "gru")], indirect=["mode"]
)
def test_detach_cuts_the_past(mode: str, cell: str, make: Any) -> None:
    made = make(network(cell, 2, 3), (3, 4))
    net = backend.build(made.weights)

    def loss(x: Any, later: Any, cut: bool) -> Any:
        _, state = net(x)
        if cut:
            state = cm.detach(state)
        y, _ = net(later, state)
        return y.sum()

    x, later = ms.Tensor(made.x), ms.Tensor(made.x)  # two: PyNative sums the gradients of one tensor given twice
    through = ms.grad(loss, (0, 1))
    kept, cut = through(x, later, False), through(x, later, True)
    assert np.abs(kept[0].asnumpy()).max() > 1e-3
    assert not cut[0].asnumpy().any()
    assert np.array_equal(kept[1].asnumpy(), cut[1].asnumpy())
    assert cm.detach(None) is None
