"""The table of cases that every backend must pass, forward and gradient; the tests and ``convgru parity`` both read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any
from zlib import crc32

import numpy as np

from convgru.shapes import check_input, count_parameters, nest_state, state_leaves, state_shapes
from convgru.spec import Spec, forecaster, network
from convgru.weights import Weights, dtype_of, init


@dataclass(frozen=True)
class Case:
    """One network and the call that is made of it.

    ``state`` False starts from zeros that nobody hands in; ``scale`` multiplies the initial weights: trained ones are
    larger and conditioned worse; ``steps`` is a forecaster's horizon.
    """

    name: str
    spec: Spec
    size: tuple[int, ...]
    time: int = 3
    batch: int = 2
    state: bool = True
    scale: float = 1.0
    steps: int | None = None

    @property
    def elementwise(self) -> bool:
        """Whether the network is so small that every number's derivative is checked by itself."""
        numbers = count_parameters(self.spec) + self.time * self.batch * self.spec.in_channels * prod(self.size)
        return numbers * self.time * self.batch * prod(self.size) < 200_000


@dataclass(frozen=True)
class Problem:
    """A case made concrete: weights, input, initial state and cotangents, rounded to a dtype."""

    weights: Weights
    x: np.ndarray
    state: tuple[Any, ...] | None
    cotangents: tuple[np.ndarray, tuple[Any, ...]]


CELLS: dict[str, dict[str, Any]] = {
    "gru-before": {"cell": "gru", "reset": "before"},
    "gru-after": {"cell": "gru", "reset": "after"},
    "lstm": {"cell": "lstm"},
    "rnn-tanh": {"cell": "rnn"},
    "rnn-relu": {"cell": "rnn", "activation": "relu"},
}
SIZES = {1: (7,), 2: (5, 4), 3: (3, 4, 3)}

# What is tried on every cell but the ReLU one: network arguments, and arguments of the case.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "even-kernel": ({"kernel_size": (2, 4)}, {}),
    "oblong-kernel": ({"kernel_size": (1, 5), "recurrent_kernel_size": (3, 2)}, {}),
    "pointwise": ({"kernel_size": 1}, {"size": (1, 1)}),
    "dilated": ({"kernel_size": (3, 2), "dilation": (2, 3)}, {"size": (6, 7)}),
    "recurrent-dilated": ({"recurrent_kernel_size": 5, "recurrent_dilation": (1, 2)}, {}),
    "valid": ({"padding": "valid", "kernel_size": (2, 3)}, {}),
    "padded": ({"padding": ((0, 2), 1)}, {}),
    "no-bias": ({"bias": False}, {}),
    "no-state": ({}, {"state": False}),
    "one-frame": ({}, {"time": 1, "batch": 1}),
    "layers": ({"hidden_channels": [4, 2, 3], "kernel_size": [3, (1, 2), 5]}, {}),
    "valid-layers": ({"hidden_channels": [3, 2], "padding": "valid", "kernel_size": [3, 2]}, {"size": (6, 5)}),
    "long": ({"in_channels": 1, "hidden_channels": 2}, {"time": 12, "batch": 1, "size": (3, 3)}),
}

# Wide and trained-like networks: what fixed tolerances get wrong.
WIDE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wide": ({"in_channels": 8, "hidden_channels": 32, "kernel_size": 5}, {"size": (6, 6)}),
    "wide-twice": ({"in_channels": 8, "hidden_channels": 32, "kernel_size": 3}, {"size": (6, 6), "scale": 2.0}),
}

FORECASTERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "patch": ({"patch": 2}, {"size": (6, 4), "steps": 3}),
    "oblong-patch": ({"patch": (1, 2), "hidden_channels": [3, 2]}, {"size": (3, 6), "steps": 2}),
    "direct": ({"patch": 1, "residual": False}, {"size": (4, 3), "steps": 3}),
    "one-step": ({"patch": 2}, {"size": (4, 4), "steps": 1, "state": False}),
    "1d": ({"patch": 3, "ndim": 1}, {"size": (9,), "steps": 2}),
    "3d": ({"patch": (1, 2, 1), "ndim": 3, "kernel_size": 2}, {"size": (2, 4, 3), "steps": 2, "time": 2}),
}


def table() -> list[Case]:
    """All cases."""
    return list(_table())


def _table() -> Iterator[Case]:
    for cell, fixed in CELLS.items():
        for ndim, size in SIZES.items():
            yield _network(f"{cell}-{ndim}d", {**fixed, "ndim": ndim}, {"size": size})
        if cell != "rnn-relu":
            for option, (arguments, call) in OPTIONS.items():
                yield _network(f"{cell}-{option}", {**fixed, **arguments}, call)
        for option, (arguments, call) in WIDE.items():
            yield _network(f"{cell}-{option}", {**fixed, **arguments}, call)
    yield _network("gru-relu", {**CELLS["gru-before"], "activation": "relu"}, {})
    yield _network("lstm-relu", {**CELLS["lstm"], "activation": "relu"}, {})
    for option, (arguments, call) in FORECASTERS.items():
        for cell in ("gru-before", "lstm"):
            settings = {"channels": 1, "hidden_channels": 3, **CELLS[cell], **arguments}
            yield Case(f"forecaster-{cell}-{option}", forecaster(**settings), **call)
    settings = {"channels": 2, "hidden_channels": [3, 2], "patch": 2}
    yield Case("forecaster-gru-after", forecaster(**CELLS["gru-after"], **settings), (4, 6), steps=2)
    yield Case("forecaster-rnn", forecaster(**CELLS["rnn-tanh"], **settings), (4, 6), steps=2)


def _network(name: str, arguments: dict[str, Any], call: dict[str, Any]) -> Case:
    spec = network(**{"in_channels": 2, "hidden_channels": 3, **arguments})
    return Case(name, spec, **{"size": SIZES[spec.ndim], **call})


def problem(case: Case, dtype: str) -> Problem:
    """Make a case concrete: weights from ``init`` with biases that are not zero, everything else N(0, 1)."""
    seed = crc32(case.name.encode())
    return make_problem(
        noisy(init(case.spec, seed, "float64"), seed, case.scale),
        case.size,
        dtype,
        time=case.time,
        batch=case.batch,
        steps=case.steps,
        state=case.state,
        seed=seed,
    )


def noisy(weights: Weights, seed: int, scale: float = 1.0) -> Weights:
    """Scaled weights, with N(0, 0.25) added to every bias: a bias of zero would hide whether it is read at all."""
    rng = np.random.default_rng([seed, 1])
    arrays = {
        name: array + 0.5 * rng.standard_normal(array.shape) if "bias" in name else scale * array
        for name, array in weights.arrays.items()
    }
    return Weights(weights.spec, arrays)


def make_problem(
    weights: Weights,
    size: tuple[int, ...],
    dtype: str,
    *,
    time: int = 3,
    batch: int = 2,
    steps: int | None = None,
    state: bool = True,
    seed: int = 0,
    x: np.ndarray | None = None,
) -> Problem:
    """Input, initial state and cotangents for these weights, N(0, 1) from a seed, all rounded to ``dtype``."""
    spec, rng, target = weights.spec, np.random.default_rng([seed, 2]), dtype_of(dtype)
    if x is None:
        x = rng.standard_normal((time, batch, spec.in_channels, *size))
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, "TBCS")
    if not np.isfinite(x).all():
        raise ValueError(f"{spec.title}: a comparison needs finite numbers, the input holds others")
    time = x.shape[0]
    shapes = state_shapes(spec, batch, size)

    def draw(wanted: Any) -> tuple[Any, ...]:
        leaves = {name: rng.standard_normal(shape).astype(target) for name, shape in state_leaves(spec, wanted)}
        return nest_state(spec, leaves)

    initial, final = draw(shapes), draw(shapes)
    if steps is not None:
        output = (steps, batch, spec.in_channels, *size)
    else:
        top = shapes[-1][0] if spec.recurrent.cell == "lstm" else shapes[-1]
        output = (time, *top)
    cotangent = rng.standard_normal(output).astype(target)
    return Problem(weights.astype(target), x.astype(target), initial if state else None, (cotangent, final))
