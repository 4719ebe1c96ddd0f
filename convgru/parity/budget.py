"""Error budgets: four standard deviations of what rounding does to the float64 reference.

The model of rounding and its derivation are in docs/parity.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from convgru import reference
from convgru.parity.cases import Problem
from convgru.reference.gradients import taped
from convgru.reference.rounding import SCALE, Rounding
from convgru.reference.taped_ops import TapedOps

TF32_EPS = 2.0**-10
"""Spacing of TensorFloat-32, which has ten bits of mantissa."""
DEVIATIONS = 4.0
"""The budget in standard deviations of the number that rounding disturbs most."""
COPIES = 32
"""Number of randomly disturbed runs that the standard deviations are estimated from."""
NUMBERS = 1 << 22
"""Most numbers in the windows of one convolution, all copies together."""
HALF = {"float16": (4.0, 16.0), "bfloat16": (4.0, 16.0)}
"""Dtypes with a fixed budget, in eps: forward, gradient."""
KINKED = ("relu", "leaky_relu", "hard_sigmoid", "hard_sigmoid_0.2")
KINK = 4.0
"""Factor on the gradient's budget in half precision for ReLUs and clipped lines.

A number that rounds across the kink turns a derivative on or off (measured: up to 34 eps; smooth
cells stay below 16).
"""


@dataclass(frozen=True)
class Budget:
    """Largest errors allowed, relative to max(1, max|reference|).

    Attributes:
        forward: of the output and of every state.
        gradients: of the gradient of each leaf, by its name.
    """

    forward: float
    gradients: Mapping[str, float] = field(default_factory=dict)


class Values(NamedTuple):
    """Results and gradients of a problem.

    Attributes:
        results: ``output`` and the final states ``state.0.h`` …
        gradients: of ``x``, ``state.0.h`` …, ``context.0`` … and every parameter.
    """

    results: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


def eps_of(dtype: str, tf32: bool = False) -> float:
    """Spacing of the numbers next to one in a dtype."""
    if tf32 and dtype == "float32":
        return TF32_EPS
    return float(ml_dtypes.finfo(dtype).eps)


def evaluate(
    problem: Problem, steps: int | None = None, *, gradients: bool = True, ops: TapedOps | None = None, copies: int = 1
) -> Values:
    """Compute results and gradients in float64, with a leading axis of ``copies``.

    Args:
        problem: weights, arguments and cotangents.
        steps: a forecaster's horizon.
        gradients: whether to compute gradients.
        ops: operations that may disturb each copy differently.
        copies: size of the leading axis.
    """
    weights, spec = problem.weights, problem.weights.spec
    x = problem.x.astype(np.float64)
    extras = reference.complete_extras(spec, x, problem.extras, steps)
    leaves = reference.leaves_of(weights, x, reference.complete_state(spec, x, problem.state), extras)
    results, slopes = taped(spec, leaves, problem.cotangents if gradients else None, steps, extras, ops, copies)
    if problem.state is None:  # nobody hands in a state, so nobody asks for its gradient
        slopes = {name: slope for name, slope in slopes.items() if not name.startswith("state.")}
    return Values(results, slopes)


def exactly(problem: Problem, steps: int | None = None, *, gradients: bool = True) -> Values:
    """Compute results and gradients in float64, without disturbance."""
    results, slopes = evaluate(problem, steps, gradients=gradients)
    return Values({name: a[0] for name, a in results.items()}, {name: a[0] for name, a in slopes.items()})


def budget(
    problem: Problem,
    steps: int | None = None,
    *,
    gradients: bool = False,
    tf32: bool = False,
    exact: Values | None = None,
) -> Budget:
    """Budget of a problem in the dtype of its weights: DEVIATIONS · R · eps.

    R is the standard deviation, in eps, of the number that rounding disturbs most, and at least 1.
    Outputs and states share one R; the gradient of each leaf has its own.

    Args:
        problem: weights, arguments and cotangents.
        steps: a forecaster's horizon.
        gradients: whether budgets of gradients are wanted, if ``exact`` is not given.
        tf32: whether float32 may be TF32.
        exact: the undisturbed values, if they are known already.
    """
    dtype = str(problem.weights.dtype)
    eps = eps_of(dtype, tf32)
    exact = exactly(problem, steps, gradients=gradients) if exact is None else exact
    if dtype in HALF:
        output, gradient = HALF[dtype]
        layers = problem.weights.spec.recurrent.layers
        kinks = any(name in KINKED for layer in layers for name in (layer.activation, layer.recurrent_activation))
        return Budget(output * eps, dict.fromkeys(exact.gradients, gradient * eps * (KINK if kinks else 1.0)))
    forward, slopes = deviations(problem, steps, exact)
    scaled = {name: DEVIATIONS * max(1.0, deviation) * eps for name, deviation in slopes.items()}
    return Budget(DEVIATIONS * max(1.0, *forward.values()) * eps, scaled)


def deviations(problem: Problem, steps: int | None, exact: Values) -> tuple[dict[str, float], dict[str, float]]:
    """Standard deviation, in eps, of the most disturbed number of each result and each gradient.

    Relative to max(1, max|value|) of the array, as ``error`` is.
    """
    squares: dict[str, Any] = {}
    width = _copies_at_once(problem)
    for start in range(0, COPIES, width):
        ops, copies = TapedOps(Rounding(start)), min(width, COPIES - start)
        noisy = evaluate(problem, steps, gradients=bool(exact.gradients), ops=ops, copies=copies)
        for key, got, want in _paired(noisy, exact):
            squares[key] = squares.get(key, 0.0) + ((got - want) ** 2).sum(axis=0)
    deviation: dict[str, float] = {}
    for key, _, want in _paired(exact, exact):
        scale = max(1.0, _largest(want)) * SCALE
        deviation[key] = _largest(np.sqrt(squares[key] / COPIES)) / scale
    results = {name: deviation["result " + name] for name in exact.results}
    return results, {name: deviation["gradient " + name] for name in exact.gradients}


def _paired(got: Values, want: Values) -> list[tuple[str, np.ndarray, np.ndarray]]:
    pairs = [("result " + name, got.results[name], array) for name, array in want.results.items()]
    return pairs + [("gradient " + name, got.gradients[name], array) for name, array in want.gradients.items()]


def _copies_at_once(problem: Problem) -> int:
    """The number of copies that fit in NUMBERS: all of a small network's, one of a large one's."""
    layers = problem.weights.spec.recurrent.layers
    fan_in = max(
        prod(step.kernel_size) * max(step.in_channels, step.hidden_channels) for layer in layers for step in layer.steps
    )
    pixels = problem.x.shape[1] * prod(problem.x.shape[3:])
    return max(1, min(COPIES, NUMBERS // int(fan_in * pixels)))


def _largest(array: np.ndarray) -> float:
    return float(np.abs(array).max(initial=0.0))


def error(got: np.ndarray, want: np.ndarray) -> float:
    """max|got − want| / max(1, max|want|); infinite where got is not a number."""
    if got.shape != want.shape:
        raise ValueError(f"parity expected shape {want.shape}, got {got.shape}")
    if not want.size:
        return 0.0
    difference = np.abs(got.astype(np.float64) - want).max()
    return float(difference / max(1.0, np.abs(want).max())) if np.isfinite(difference) else float("inf")
