"""Fixtures of the MindSpore tests: networks with non-zero biases, both modes, the error measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mindspore", reason="MindSpore is not installed")

import mindspore as ms

from convgru import reference
from convgru.initialization import init
from convgru.spec import forecaster, network
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights
from convgru_mindspore import backend


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--whole-table``, for ``test_sequence.py``, which is then to be named."""
    parser.addoption("--whole-table", action="store_true", help="graph mode: all of parity's cases, in float64 too")


class Made:
    """A network's weights and a call of it, in NumPy, rounded to a dtype."""

    def __init__(self, spec: Any, size: tuple[int, ...], dtype: str = "float32", steps: int | None = None) -> None:
        rng = np.random.default_rng(7)
        arrays = init(spec, 3, dtype).arrays
        noisy = {name: (a + 0.3 * rng.standard_normal(a.shape)).astype(dtype) for name, a in arrays.items()}
        self.spec, self.steps, self.weights = spec, steps, Weights(spec, noisy)
        self.x = rng.standard_normal((3, 2, spec.in_channels, *size)).astype(dtype)
        blank = reference.complete_state(spec, self.x.astype(np.float64))
        draw: Callable[[np.ndarray], np.ndarray] = lambda a: rng.standard_normal(a.shape).astype(dtype)  # noqa: E731
        self.state = nest_state(spec, {name: draw(a) for name, a in state_leaves(spec, blank)})
        y, final = reference.run(self.weights, self.x, self.state, steps=steps)
        self.y, self.final = y, dict(state_leaves(spec, final))
        self.cotangents = (draw(y), nest_state(spec, {name: draw(a) for name, a in self.final.items()}))

    @property
    def tensors(self) -> tuple[Any, Any]:
        """Input and state as MindSpore tensors."""
        return ms.Tensor(self.x), tensors(self.state)


def tensors(state: Any) -> Any:
    """A state of arrays as a state of tensors."""
    return tuple(tensors(part) for part in state) if isinstance(state, tuple) else ms.Tensor(state)


SPECS: dict[str, tuple[Any, tuple[int, ...], int | None]] = {
    "gru-before": (network("gru", 2, [4, 3]), (5, 4), None),
    "gru-after": (network("gru", 2, 3, (2, 3), reset="after", padding=((1, 2), 0)), (5, 4), None),
    "lstm-1d": (network("lstm", 2, [3, 2], 2, ndim=1, dilation=2), (7,), None),
    "rnn-3d": (network("rnn", 2, 3, (2, 1, 3), ndim=3), (3, 4, 3), None),
    "rnn-relu": (network("rnn", 2, 3, activation="relu", bias=False), (3, 4), None),
    "forecaster": (forecaster("gru", 1, [3, 4], patch=2), (4, 6), 3),
    "forecaster-lstm-3d": (forecaster("lstm", 1, 2, ndim=3, patch=(1, 2, 1), residual=False), (2, 4, 2), 2),
}


@pytest.fixture(params=SPECS)
def named(request: pytest.FixtureRequest) -> Callable[..., Made]:
    """A maker of the network of this name: ``named("float64")``."""
    return _named(request.param)


@pytest.fixture(params=[*(f"pynative {name}" for name in SPECS), "graph gru-after", "graph forecaster-lstm-3d"])
def called(request: pytest.FixtureRequest) -> Iterator[Callable[..., Made]]:
    """Like ``named``, in PyNative mode; two networks in graph mode too, where compiling is slow."""
    mode, name = request.param.split()
    for _ in _set_mode(mode):
        yield _named(name)


def _named(name: str) -> Callable[..., Made]:
    spec, size, steps = SPECS[name]
    return lambda dtype="float32": Made(spec, size, dtype, steps)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder: MindSpore writes its analysis there if a graph does not compile."""
    monkeypatch.chdir(tmp_path_factory.mktemp("rank"))


@pytest.fixture
def make() -> Callable[..., Made]:
    """A maker of any network."""
    return Made


@pytest.fixture(params=["pynative", "graph"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test in both of MindSpore's modes."""
    yield from _set_mode(request.param)


@pytest.fixture
def graph() -> Iterator[str]:
    """Run the test in graph mode."""
    yield from _set_mode("graph")


def _set_mode(name: str) -> Iterator[str]:
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE if name == "graph" else ms.PYNATIVE_MODE)
    yield name
    ms.set_context(mode=before)


@pytest.fixture
def build() -> Callable[..., Any]:
    """Build the module of a made network."""
    return lambda made, **options: backend.build(made.weights, **options)


@pytest.fixture
def to_tensors() -> Callable[[Any], Any]:
    """A state of arrays as a state of tensors."""
    return tensors


@pytest.fixture
def eps_off() -> Callable[[Any, Any], float]:
    """max|got − ref| / max(1, max|ref|), in units of got's eps."""

    def measure(got: Any, ref: Any) -> float:
        got, ref = (a.asnumpy() if isinstance(a, ms.Tensor) else np.asarray(a) for a in (got, ref))
        assert got.shape == ref.shape
        worst = np.abs(got.astype(np.float64) - ref).max() / max(1.0, float(np.abs(ref).max()))
        return float(worst / np.finfo(got.dtype).eps)

    return measure
