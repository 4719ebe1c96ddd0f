"""The modules against the float64 reference and against each other: modes, layouts, streaming, state, options."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest

import convgru.mindspore as cm
from convgru import reference
from convgru.initialization import init
from convgru.spec import network
from convgru.spec.shapes import parameter_shapes, state_leaves
from convgru_mindspore import backend, ops

TOLERANCE = {"float64": 40.0, "float32": 15.0, "float16": 8.0}  # in eps, at weights 1.5 times their initial size


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_forward_and_gradients_match_the_reference(named: Any, dtype: str, eps_off: Any) -> None:
    compare_with_reference(named(dtype), eps_off)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_graph_mode_matches_the_reference_too(named: Any, graph: str, dtype: str, eps_off: Any) -> None:
    compare_with_reference(named(dtype), eps_off)


def compare_with_reference(made: Any, eps_off: Any) -> None:
    """Output, final state, and the gradient with respect to every number that goes in."""
    dtype = str(made.x.dtype)
    y, final, found = backend.execute(made.weights, made.x, made.state, steps=made.steps, cotangents=made.cotangents)
    assert y.dtype == made.x.dtype
    assert eps_off(y, made.y) < TOLERANCE[dtype]
    for name, leaf in state_leaves(made.spec, final):
        assert eps_off(leaf, made.final[name]) < TOLERANCE[dtype], name
    wanted = reference.gradient(made.weights, made.x, made.state, made.cotangents, steps=made.steps)
    assert list(found) == ["x", *(n for n, _ in state_leaves(made.spec, made.state)), *parameter_shapes(made.spec)]
    for name, gradient in found.items():
        assert gradient.dtype == made.x.dtype
        assert eps_off(gradient, wanted[name]) < 4 * TOLERANCE[dtype], name


def test_no_state_means_zeros(called: Any, build: Any, eps_off: Any) -> None:
    made = called()
    expected, _ = reference.run(made.weights, made.x, steps=made.steps)
    arguments = (made.tensors[0],) if made.steps is None else (made.tensors[0], made.steps)
    y, _ = build(made)(*arguments)
    assert eps_off(y, expected) < TOLERANCE["float32"]
    y, _, _ = backend.execute(made.weights, made.x, steps=made.steps)
    assert eps_off(y, expected) < TOLERANCE["float32"]


def test_batch_first_is_a_transpose(called: Any, build: Any) -> None:
    made = called()
    x, state = made.tensors
    more = () if made.steps is None else (made.steps,)
    y, final = build(made)(x, *more, state)
    turned, other = build(made, batch_first=True)(ms.Tensor(made.x.swapaxes(0, 1)), *more, state)
    assert np.array_equal(turned.asnumpy().swapaxes(0, 1), y.asnumpy())
    for (_, a), (_, b) in zip(state_leaves(made.spec, final), state_leaves(made.spec, other), strict=True):
        assert np.array_equal(a.asnumpy(), b.asnumpy())


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_step_and_state_continue_a_sequence(cell: str, mode: str, make: Any, build: Any, eps_off: Any) -> None:
    made = make(network(cell, 2, [3, 2]), (5, 4))
    net = build(made)
    x, state = made.tensors
    for index in range(len(made.x)):
        y, state = net.step(x[index], state)
        assert eps_off(y, made.y[index]) < TOLERANCE["float32"]
    for name, leaf in state_leaves(made.spec, state):
        assert eps_off(leaf, made.final[name]) < TOLERANCE["float32"]
    _, state = net(x[:2], made.tensors[1])
    y, _ = net(x[2:], state)
    assert eps_off(y, made.y[2:]) < TOLERANCE["float32"]


@pytest.mark.parametrize(
    ("cell", "kind"), [("gru", cm.ConvGRUCell), ("lstm", cm.ConvLSTMCell), ("rnn", cm.ConvRNNCell)]
)
def test_bare_cell_is_one_frame_of_one_layer(cell: str, kind: Any, mode: str, make: Any, eps_off: Any) -> None:
    made = make(network(cell, 2, 3), (5, 4))
    bare = kind.from_spec(made.spec, weights=made.weights)
    assert list(bare.parameters_dict()) == [n.removeprefix("layers.0.fwd.") for n in parameter_shapes(made.spec)]
    assert backend.extract(bare).equal(made.weights)
    x, (entry,) = made.tensors
    for index in range(len(made.x)):
        entry = bare(x[index], entry)
        h = entry[0] if cell == "lstm" else entry
        assert eps_off(h, made.y[index]) < TOLERANCE["float32"]
    first = bare(x[0])
    assert (first[0] if cell == "lstm" else first).shape == (2, 3, 5, 4)


def test_parameters_carry_the_canonical_names(named: Any, build: Any) -> None:
    made = named()
    net = build(made)
    shapes = {name: p.shape for name, p in net.parameters_dict().items()}
    assert shapes == parameter_shapes(made.spec)
    assert all(p.name == name for name, p in net.parameters_and_names())
    assert len(net.trainable_params()) == len(shapes)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_build_and_extract_are_byte_equal_and_copies(named: Any, build: Any, dtype: str) -> None:
    made = named(dtype)
    net = build(made)
    taken = backend.extract(net)
    assert taken.equal(made.weights)
    for parameter in net.get_parameters():
        parameter.set_data(parameter * 0)
    assert taken.equal(made.weights)
    assert not backend.extract(net).equal(made.weights)
    assert backend.owns(net)
    assert not backend.owns(ms.nn.Dense(2, 2))


def test_extract_works_inside_a_users_own_network(make: Any, build: Any) -> None:
    made = make(network("gru", 2, [3, 2]), (5, 4))

    class Outer(ms.nn.Cell):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

    outer = Outer(build(made))
    assert "inner.layers.0.fwd.weight_ih" in outer.parameters_dict()
    assert backend.extract(outer.inner).equal(made.weights)


def test_initial_weights_follow_mindspores_seed_and_our_distributions() -> None:
    def drawn(seed: int) -> Any:
        ms.set_seed(seed)
        return backend.extract(cm.ConvLSTM(2, [4, 3], 3))

    first = drawn(5)
    assert drawn(5).equal(first)
    assert not drawn(6).equal(first)
    for layer, hidden in enumerate((4, 3)):
        bias = first.arrays[f"layers.{layer}.fwd.bias"].reshape(4, hidden)
        assert np.array_equal(bias, np.outer([0, 1, 0, 0], np.ones(hidden)))
        for gate in first.arrays[f"layers.{layer}.fwd.weight_hh"].reshape(4, hidden, -1):
            assert np.allclose(gate @ gate.T, np.eye(hidden), atol=1e-6)
        weight = first.arrays[f"layers.{layer}.fwd.weight_ih"]
        bound = np.sqrt(6 / ((weight.shape[1] + hidden) * 9))
        assert 0.8 * bound < np.abs(weight).max() <= bound


def test_repr_says_what_it_is() -> None:
    assert repr(cm.ConvGRU(2, [8, 4], batch_first=True)) == (
        "ConvGRU(2, [8, 4], kernel_size=3, reset='before', batch_first=True, dtype=float32)"
    )
    assert repr(cm.ConvLSTM(2, 4, (3, 5), padding="valid", has_bias=False, accurate=False)) == (
        "ConvLSTM(2, 4, kernel_size=(3, 5), padding='valid', has_bias=False, accurate=False, dtype=float32)"
    )
    assert repr(cm.ConvRNNCell(2, 4, ndim=1, activation="relu", dtype=ms.float64)) == (
        "ConvRNNCell(2, 4, kernel_size=3, ndim=1, activation='relu', dtype=float64)"
    )
    assert repr(cm.Forecaster("gru", 1, [8, 4], patch=2)) == (
        "Forecaster('gru', 1, [8, 4], kernel_size=3, reset='before', patch=2, residual=True, dtype=float32)"
    )
    assert repr(
        cm.ConvLSTM(2, 4, stride=2, groups=2, peephole="conv", bidirectional=True, merge="sum", zoneout=0.1)
    ) == (
        "ConvLSTM(2, 4, kernel_size=3, stride=2, groups=2, peephole='conv', bidirectional='layer', merge='sum', "
        "zoneout=0.1, dtype=float32)"
    )


def test_constructor_and_from_spec_agree_on_the_spec() -> None:
    own = cm.ConvGRU(
        2, [4, 3], [3, (2, 5)], recurrent_kernel_size=3, dilation=2, recurrent_dilation=(1, 2), padding="valid",
        has_bias=False, reset="after", activation="relu",
    )  # fmt: skip
    assert own.spec == network(
        "gru", 2, [4, 3], [3, (2, 5)], recurrent_kernel_size=3, dilation=2, recurrent_dilation=(1, 2), padding="valid",
        bias=False, reset="after", activation="relu",
    )  # fmt: skip
    assert cm.ConvGRU.from_spec(own.spec).spec == own.spec
    assert cm.ConvLSTM(2, 3, num_layers=3, ndim=1).spec == network("lstm", 2, 3, num_layers=3, ndim=1)
    assert cm.ConvRNN(2, 3, ndim=3).spec == network("rnn", 2, 3, ndim=3)
    assert backend.extract(cm.ConvRNN(2, 3, dtype=ms.float64)).dtype == np.float64


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_accurate_activations_beat_the_native_ones(name: str, mode: str) -> None:
    """Rounded once: half an eps. The native float32 kernels are off by far more, and so are their gradients."""
    at = np.linspace(-8, 8, 4001).astype(np.float32)
    exact = {"sigmoid": 1 / (1 + np.exp(-at.astype(np.float64))), "tanh": np.tanh(at.astype(np.float64))}[name]
    slope = exact * (1 - exact) if name == "sigmoid" else 1 - exact**2
    ours, native = getattr(ops, name), getattr(ms.ops, name)
    eps = np.finfo(np.float32).eps
    assert np.abs(ours(ms.Tensor(at)).asnumpy() - exact).max() <= eps / 2
    assert np.abs(ms.grad(ours)(ms.Tensor(at)).asnumpy() - slope).max() <= eps / 2
    floor = {"sigmoid": 2 * eps, "tanh": 5e-5}[name]
    assert np.abs(native(ms.Tensor(at)).asnumpy() - exact).max() > floor
    assert np.abs(ms.grad(native)(ms.Tensor(at)).asnumpy() - slope).max() > eps


def test_native_mode_differs_as_documented(make: Any, mode: str, build: Any) -> None:
    made = make(network("gru", 2, 3), (5, 4))
    x, state = made.tensors
    accurate, _ = build(made)(x, state)
    native, _ = build(made, accurate=False)(x, state)
    assert np.abs(accurate.asnumpy() - made.y).max() < 2e-6
    assert 2e-6 < np.abs(native.asnumpy() - made.y).max() < 1e-3


def test_pure_functions_take_a_dict(make: Any) -> None:
    made = make(network("lstm", 2, [3, 2]), (5, 4))
    arrays = {name: ms.Tensor(array) for name, array in made.weights.arrays.items()}
    y, _ = cm.run(made.spec, arrays, *made.tensors)
    assert np.abs(y.asnumpy() - made.y).max() < 2e-6


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype_of_the_input_is_kept_without_a_cast(dtype: str, build: Any, make: Any) -> None:
    made = make(network("gru", 2, 3), (5, 4), dtype)
    y, (h,) = build(made)(*made.tensors)
    assert str(y.dtype).lower() == str(h.dtype).lower() == dtype


def test_notes_and_devices_say_what_runs_here() -> None:
    assert list(backend.devices()) == ["cpu"]
    assert "CUDA 11" in backend.devices()["cpu"]
    assert any("CUDA 11" in note for note in backend.notes())
    assert any("oneDNN" in note for note in backend.notes())
    assert backend.versions()["mindspore"] == ms.__version__
    with backend.precise():
        assert init(network("gru", 1, 1)).dtype == np.float32
