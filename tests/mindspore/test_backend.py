"""The backend: execute against the float64 reference in both modes, build, extract, load, notes."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest

import convgru
import convgru.mindspore as cm
from convgru import reference
from convgru.initialization import init
from convgru.parity import cases, table
from convgru.spec import network
from convgru.spec.shapes import parameter_shapes, state_leaves
from convgru_mindspore import backend

TABLE = {case.name: case for case in table.table()}

GRAPHS = (
    "lstm-lengths-bidirectional",
    "gru-before-groups",
    "gru-after-updates",
    "lstm-train",
    "lstm-circular-1d",
    "forecaster-lstm-forced",
    "forecaster-gru-before-blind",
)

TOLERANCE = {"float64": 40.0, "float32": 15.0, "float16": 8.0}  # in eps, at weights 1.5 times their initial size


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_forward_and_gradients_match_the_reference(named: Any, dtype: str, eps_off: Any) -> None:
    compare_with_reference(named(dtype), eps_off)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_graph_mode_matches_the_reference_too(named: Any, graph: str, dtype: str, eps_off: Any) -> None:
    compare_with_reference(named(dtype), eps_off)


def compare_with_reference(made: Any, eps_off: Any) -> None:
    """Output, final state and the gradient with respect to every input and parameter."""
    dtype = str(made.x.dtype)
    y, final, gradients = backend.execute(
        made.weights, made.x, made.state, steps=made.steps, cotangents=made.cotangents
    )
    assert y.dtype == made.x.dtype
    assert eps_off(y, made.y) < TOLERANCE[dtype]
    for name, leaf in state_leaves(made.spec, final):
        assert eps_off(leaf, made.final[name]) < TOLERANCE[dtype], name
    wanted = reference.gradient(made.weights, made.x, made.state, made.cotangents, steps=made.steps)
    assert list(gradients) == ["x", *(n for n, _ in state_leaves(made.spec, made.state)), *parameter_shapes(made.spec)]
    for name, gradient in gradients.items():
        assert gradient.dtype == made.x.dtype
        assert eps_off(gradient, wanted[name]) < 4 * TOLERANCE[dtype], name


def measured(case: Any, dtype: str, eps_off: Any) -> float:
    """Worst error of output, state and gradients of a case, in eps."""
    made = cases.problem(case, dtype)
    oracle_y, oracle_state = expected(made, case.steps)
    y, final, gradients = backend.execute(
        made.weights, made.x, made.state, steps=case.steps, extras=made.extras, cotangents=made.cotangents
    )
    extras = reference.complete_extras(case.spec, made.x.astype(np.float64), made.extras, case.steps)
    wanted = reference.gradient(made.weights, made.x, made.state, made.cotangents, steps=case.steps, extras=extras)
    errors = [eps_off(y, oracle_y), *(eps_off(gradients[name], wanted[name]) for name in gradients)]
    ends = zip(state_leaves(case.spec, final), state_leaves(case.spec, oracle_state), strict=True)
    return max(errors + [eps_off(a, b) for (_, a), (_, b) in ends])


def expected(made: Any, steps: Any) -> Any:
    """The reference's output and final state."""
    e = made.extras
    options = {"lengths": e.lengths, "context": e.context, "masks": e.masks, "targets": e.targets, "forced": e.forced}
    return reference.run(made.weights, made.x, made.state, steps=steps, **options)


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_mode_matches_the_reference(name: str, graph: str, eps_off: Any) -> None:
    assert measured(TABLE[name], "float32", eps_off) < 60


@pytest.mark.parametrize(
    "name", ["gru-before-groups-3d", "lstm-strided-even", "gru-before-reflect-3d", "lstm-norm-peephole"]
)
def test_float16_matches_the_reference(name: str, eps_off: Any) -> None:
    assert measured(TABLE[name], "float16", eps_off) < 16


@pytest.mark.parametrize("name", ["gru-before-norm", "lstm-norm-peephole"])
def test_float16_statistics_of_norms_are_float32(name: str) -> None:
    """Squares of numbers beyond 256 overflow float16."""
    case = TABLE[name]
    made = cases.problem(case, "float16")
    x = made.x * 1000
    y, _ = backend.build(made.weights)(ms.Tensor(x))
    wanted, _ = reference.run(made.weights, x)
    assert abs(y.asnumpy().astype("float64") - wanted).max() < 0.02


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


def test_parameters_that_two_directions_share_have_both_names() -> None:
    net = cm.ConvRNN(2, 3, bidirectional=True)
    for name in ("weight_ih", "weight_hh", "bias"):
        setattr(net.layers[0].bwd, name, getattr(net.layers[0].fwd, name))
    weights = convgru.extract(net)
    assert weights.arrays["layers.0.bwd.bias"] is not weights.arrays["layers.0.fwd.bias"]
    other = convgru.Weights(weights.spec, {name: array + 1 for name, array in weights.arrays.items()})
    convgru.load(net, other)
    assert convgru.extract(net).equal(other)
    with pytest.raises(convgru.WeightsError, match=r"ConvRNN: layers\.0\.fwd\.\w+ and layers\.0\.bwd\.\w+ are one"):
        convgru.load(net, init(weights.spec))
    assert convgru.extract(net).equal(other)


def test_parameters_of_the_whole_network_carry_the_canonical_names() -> None:
    for case in table.table():
        made = cases.problem(case, "float32")
        net = backend.build(made.weights)
        assert {n: p.shape for n, p in net.parameters_dict().items()} == {
            n: a.shape for n, a in made.weights.arrays.items()
        }, case.name
        assert backend.extract(net).equal(made.weights)


def test_notes_and_devices_say_what_runs_here() -> None:
    assert list(backend.devices()) == ["cpu"]
    assert "CUDA 11" in backend.devices()["cpu"]
    assert any("CUDA 11" in note for note in backend.notes())
    assert any("oneDNN" in note for note in backend.notes())
    assert backend.versions()["mindspore"] == ms.__version__
    with backend.precise():
        assert init(network("gru", 1, 1)).dtype == np.float32


def test_build_takes_the_only_device() -> None:
    weights = init(network("gru", 1, 1))
    assert convgru.build(weights, "mindspore", device="cpu").spec == weights.spec
    with pytest.raises(convgru.UnsupportedError, match=r"MindSpore does not compute on 'cuda'\. .*CUDA 11"):
        convgru.build(weights, "mindspore", device="cuda")


def test_a_layer_of_a_stack_is_a_network_of_its_own() -> None:
    net, other = cm.ConvGRU(2, [3, 4], bidirectional=True), cm.ConvGRU(2, [3, 4], bidirectional=True)
    weights = convgru.extract(net.layers[1].bwd)
    assert weights.spec == network("gru", 6, 4)
    convgru.load(other.layers[1].bwd, weights)
    assert convgru.extract(other.layers[1].bwd).equal(weights)
    assert not convgru.extract(other.layers[1].fwd).equal(weights)


def test_build_makes_a_bare_cell(make: Any, eps_off: Any) -> None:
    made = make(network("gru", 2, 3), (5, 4))
    cell = convgru.build(made.weights, "mindspore", cell=True)
    assert type(cell) is cm.ConvGRUCell
    assert eps_off(cell(made.tensors[0][0], made.tensors[1][0]), made.y[0]) < 15
    for spec, options, sentence in (
        (network("gru", 2, [3, 3]), {}, "expected a network of one layer in one direction, without dropout"),
        (network("gru", 2, 3), {"batch_first": True}, "has no batch_first: a cell takes one frame a call"),
        (network("gru", 2, 3), {"impl": "fast"}, "has no impl: a cell takes one frame a call"),
    ):
        with pytest.raises(ValueError, match=sentence):
            convgru.build(init(spec), "mindspore", cell=True, **options)
    with pytest.raises(TypeError, match=r'convgru\.build\(\.\.\., "mindspore"\) has no option \'accurate\''):
        convgru.build(made.weights, "mindspore", accurate=True)
