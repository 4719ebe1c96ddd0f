"""The loop over time as one operation of a graph: right, compiled once, refused in clear words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru
import convgru.mindspore as cm
from convgru import parity, reference
from convgru.initialization import init
from convgru.parity.table import table
from convgru.spec import network
from convgru_mindspore import convolution, direction, kept

CASES = (
    "gru-before-stack",
    "gru-before-train-stack",
    "gru-after-bidirectional-sum",
    "gru-after-lengths",
    "lstm-lengths",
    "lstm-3d",
    "lstm-bidirectional",
    "lstm-layers",
    "lstm-stack",
    "gru-before-context",
    "gru-after-lengths-norm",
    "gru-after-context-timed",
    "gru-after-updates",
    "lstm-zoneout-eval",
    "lstm-peephole-conv",
    "lstm-peephole-image",
)
"""Of the table of parity's cases; ``--whole-table`` runs them all, in float64 too."""
TINY = network("gru", 2, [2, 3], ndim=1)
FREE = ms.Tensor(shape=[None, None, 2, None], dtype=ms.float32)
TIMES = (1, 2, 3, 5, 8, 13, 21, 34, 55, 1000)


@pytest.fixture
def fast(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No loop is unrolled, however short, but those of masks."""
    monkeypatch.setattr(direction, "UNROLLED", 0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize by cases of the table: some, or with ``--whole-table`` all of them."""
    if "case" in metafunc.fixturenames:
        whole = metafunc.config.getoption("whole_table", default=False)
        chosen = [c for c in table() if whole or c.name in CASES]
        dtypes = ("float32", "float64") if whole else ("float32",)
        parameters = []
        for case, dtype in itertools.product(chosen, dtypes):
            parameters.append(pytest.param(case, dtype, False, id=f"{case.name}-{dtype}"))
            if any(kept.kind(cell, dtype == "float64") for cell in case.spec.recurrent.layers):
                parameters.append(pytest.param(case, dtype, True, id=f"{case.name}-{dtype}-gates"))
        metafunc.parametrize(("case", "dtype", "keeping"), parameters)


@pytest.fixture(autouse=True)
def pynative_again() -> Iterator[None]:
    """MindSpore keeps its mode when a graph does not compile."""
    before = ms.get_context("mode")
    yield
    ms.set_context(mode=before)


def test_the_table_of_cases_passes(
    case: Any, dtype: str, keeping: bool, fast: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the budgets, gradients too; with lengths, context, norms and peepholes."""
    monkeypatch.setattr(direction, "KEEPING", keeping)
    report = parity.run([case], backends=["mindspore"], dtypes=[dtype], controls=False)
    assert report.ok, report.failures()


@pytest.mark.parametrize("keeping", [False, True], ids=["states", "gates"])
def test_a_wrong_order_of_gates_is_caught(keeping: bool, fast: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direction, "KEEPING", keeping)
    case = [c for c in table() if c.name == "lstm-2d"]
    report = parity.run(case, backends=["mindspore"], dtypes=["float32"], controls=False, fault="swapped-gates")
    assert not report.ok


class Loss(nn.Cell):
    """The gradients of a sum of squares, with respect to x and the parameters."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net, self.parameters = net, ms.ParameterTuple(net.trainable_params())

    def construct(self, x: Any) -> Any:
        return ms.ops.GradOperation(get_all=True, get_by_list=True)(self.total, self.parameters)(x)

    def total(self, x: Any) -> Any:
        """The sum of the squares of the outputs."""
        y, _ = self.net(x)
        return (y * y).sum()


def sequence(time: int, batch: int, size: int) -> np.ndarray:
    """A small input; of a long one hardly anything but its ends is not zero."""
    return np.random.default_rng(time).standard_normal((time, batch, 2, size)).astype(np.float32)


def test_one_graph_serves_every_length(graph: str, eps_off: Any) -> None:
    weights = init(TINY, 0)
    net = convgru.build(weights, "mindspore")
    net.set_inputs(FREE)
    for index, time in enumerate(TIMES):
        x = sequence(time, 1 + index % 3, 3 + index % 2)
        y, (_, h) = net(ms.Tensor(x))
        wanted, (_, last) = reference.run(weights, x)
        assert eps_off(y, wanted) < 15
        assert eps_off(h, last) < 15
    assert len(net.compile_cache) == 1


@pytest.mark.parametrize("ndim", [1, 2], ids=["states", "gates"])
def test_one_graph_differentiates_every_length(ndim: int, graph: str, eps_off: Any) -> None:
    """In training; with two dimensions the gates are kept."""
    weights = init(network("gru", 2, 2, ndim=ndim), 0)
    assert (kept.kind(weights.spec.layers[0], False) != "") == (ndim == 2)
    net = convgru.build(weights, "mindspore")
    derive = Loss(net)
    derive.set_train()
    derive.set_inputs(ms.Tensor(shape=[None, None, 2, *[None] * ndim], dtype=ms.float32))
    for index, time in enumerate(TIMES[::3]):
        x = sequence(time, 1 + index % 2, 3 + index % 2)
        x = x if ndim == 1 else np.stack([x, x[::-1]], 4)
        (dx,), gradients = derive(ms.Tensor(x))
        y, (h,) = reference.run(weights, x)
        wanted = reference.gradient(weights, x, (h * 0,), (2 * y, (h * 0,)))
        assert eps_off(dx, wanted["x"]) < 60
        for parameter, gradient in zip(derive.parameters, gradients, strict=True):
            assert eps_off(gradient, wanted[parameter.name.removeprefix("net.")]) < 60, parameter.name
    assert len(derive.compile_cache) == 1


def test_a_state_that_begins_as_a_constant_moves_on(eps_off: Any) -> None:
    """A loop whose state begins as zeros made in the graph: MindSpore took it for a constant."""
    weights = init(network("gru", 2, [2, 3], ndim=1), 0)
    net, x = convgru.build(weights, "mindspore", impl="fast"), sequence(4, 2, 3)

    @ms.jit
    def call(x: Any) -> Any:
        y, _ = net(x)
        return y

    assert eps_off(call(ms.Tensor(x)), reference.run(weights, x)[0]) < 15


def test_equal_layers_do_not_share_their_buffers(graph: str, eps_off: Any) -> None:
    """Two layers, and two calls from two states, of one shape in one graph."""
    weights = init(network("gru", 2, [2, 2], ndim=1), 0)
    net, x = convgru.build(weights, "mindspore", impl="fast"), sequence(3, 2, 3)
    states = [np.random.default_rng(k).standard_normal((2, 2, 3)).astype(np.float32) for k in range(2)]

    class Twice(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def construct(self, x: Any, a: Any, b: Any) -> Any:
            return self.net(x, (a, a))[0], self.net(x, (b, b))[0]

    for y, state in zip(Twice()(ms.Tensor(x), *map(ms.Tensor, states)), states, strict=True):
        assert eps_off(y, reference.run(weights, x, (state, state))[0]) < 15


def test_an_exported_file_serves_every_shape(graph: str, tmp_path: Any, eps_off: Any) -> None:
    weights = init(network("gru", 2, 3, ndim=1), 0)
    leaf = ms.Tensor(shape=[None, 3, None], dtype=ms.float32)
    ms.export(
        cm.Flat(convgru.build(weights, "mindspore")), FREE, leaf, file_name=str(tmp_path / "n"), file_format="MINDIR"
    )
    loaded = nn.GraphCell(ms.load(str(tmp_path / "n.mindir")))
    loaded.set_inputs(FREE, leaf)
    for time, batch, size in ((6, 2, 4), (9, 1, 5)):
        x = sequence(time, batch, size)
        h = np.random.default_rng(time).standard_normal((batch, 3, size)).astype(np.float32)
        assert eps_off(loaded(ms.Tensor(x), ms.Tensor(h))[0], reference.run(weights, x, (h,))[0]) < 15


REFUSED: dict[str, tuple[Any, str]] = {
    "stride": (
        network("gru", 2, 3, ndim=1, stride=2).layers[0].input_convolution,
        r"fixed size .* of stride \(2,\), padding 'same'",
    ),
    "state": (
        network("gru", 2, 3, ndim=1, recurrent_stride=2).layers[0].recurrent_convolution(2),
        r"stride \(2,\), padding 'preserve'",
    ),
    "reflect": (
        network("gru", 2, 3, ndim=1, padding_mode="reflect").layers[0].input_convolution,
        "padding_mode 'reflect'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_free_sizes_are_refused_where_padding_depends_on_them(name: str) -> None:
    geometry, sentence = REFUSED[name]
    with pytest.raises(convgru.UnsupportedError, match=sentence):
        convolution.plan(convolution.plain(geometry), (1, 2, -1))


def test_a_graph_refuses_free_sizes_in_float64(graph: str) -> None:
    net = convgru.build(init(network("gru", 2, 3, ndim=1), 0, "float64"), "mindspore")
    net.set_inputs(ms.Tensor(shape=[None, None, 2, None], dtype=ms.float64))
    with pytest.raises(convgru.UnsupportedError, match="fixed size in float64"):
        net(ms.Tensor(sequence(3, 1, 6).astype(np.float64)))
    with pytest.raises(convgru.UnsupportedError, match="fixed size for output_size"):
        convolution.pooling(-1, 4, ms.float32)


def test_free_shapes_are_checked_as_far_as_they_are_known(graph: str) -> None:
    net = cm.ConvGRU(2, 3, ndim=1)

    class Outer(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def construct(self, x: Any) -> Any:
            return self.net(x)[0]

    outer = Outer()
    outer.set_inputs(ms.Tensor(shape=[None, None, 4, None], dtype=ms.float32))
    with pytest.raises(ValueError, match="ConvGRU expected 2 input channels on axis 2, got 4"):
        outer(ms.Tensor(np.ones((3, 1, 4, 3), np.float32)))


def test_how_the_loop_runs_can_be_chosen() -> None:
    net = cm.ConvGRU(2, 3, ndim=1, impl="fast")
    assert "impl='fast'" in str(net)
    with pytest.raises(
        convgru.UnsupportedError, match=r"graph mode, or a function under mindspore\.jit, for impl='fast'"
    ):
        net(ms.Tensor(sequence(3, 1, 4)))
    with pytest.raises(ValueError, match="impl expected one of 'auto', 'readable', 'fast', got 'quick'"):
        cm.ConvGRU(2, 3, impl="quick")  # type: ignore[arg-type]


def test_masks_are_for_the_unrolled_loop() -> None:
    for compiled, time in ((True, -1), (True, 9)):
        with pytest.raises(convgru.UnsupportedError, match="no masks of recurrent dropout or zoneout for impl='fast'"):
            direction.runs_fast("fast" if time > 0 else "auto", compiled, time, True)
    assert not direction.runs_fast("auto", True, 9, True)
    assert direction.runs_fast("auto", True, 9, False)


def test_what_is_unrolled_must_be_short(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MindSpore itself says that function calls are too deep; PyNative mode has no such limit."""
    net = convgru.build(init(network("gru", 2, 2, ndim=1, zoneout=0.1), 0), "mindspore")
    net.set_train()
    with pytest.raises(
        convgru.UnsupportedError, match="at most 98 frames for a graph with masks of recurrent dropout or zoneout"
    ):
        net(ms.Tensor(sequence(200, 1, 3)))
    with pytest.raises(convgru.UnsupportedError, match=r"a graph with impl='readable', .* unrolled, got 100"):
        direction.runs_fast("readable", True, 100, False)
    with pytest.raises(convgru.UnsupportedError, match="a fixed number of frames for impl='readable'"):
        direction.runs_fast("readable", True, -1, False)
    assert not direction.runs_fast("readable", True, 98, False)
    assert not direction.runs_fast("readable", False, 1000, True)
    assert not direction.runs_fast("auto", False, 1000, True)


def test_a_context_for_all_of_many_frames(graph: str, eps_off: Any) -> None:
    """The operation reads it as one for each frame."""
    weights, x = init(network("gru", 2, 2, ndim=1), 0), sequence(200, 1, 3)
    context = np.random.default_rng(0).standard_normal((1, 6, 3)).astype(np.float32)
    y, _ = convgru.build(weights, "mindspore")(ms.Tensor(x), context=(ms.Tensor(context),))
    assert eps_off(y, reference.run(weights, x, context=(context,))[0]) < 15


def test_both_loops_agree(graph: str, eps_off: Any) -> None:
    weights = init(network("gru", 2, 3, ndim=1), 0)
    x = sequence(5, 2, 4)
    for impl in ("readable", "fast"):
        y, _ = convgru.build(weights, "mindspore", impl=impl)(ms.Tensor(x))
        assert eps_off(y, reference.run(weights, x)[0]) < 15
