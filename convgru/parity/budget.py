"""How far from the float64 reference a backend may be: the network's own conditioning, measured, not a fixed number."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import ml_dtypes
import numpy as np

from convgru import reference
from convgru.parity.cases import Problem
from convgru.reference import ops as numpy_ops
from convgru.spec.shapes import nest_state, state_leaves

TF32_EPS = 2.0**-10
"""Spacing of TensorFloat-32, which has ten bits of mantissa."""
NOISE = 2.0**-24
"""Size of the noise that measures conditioning: small enough to be linear, far above float64's own rounding."""
SEEDS = (0, 1, 2)
HALF = {"float16": (4.0, 16.0), "bfloat16": (4.0, 16.0)}
"""Dtypes with a fixed budget, in eps: forward, gradient."""
KINK = 4.0
"""By how much a ReLU (or a clipped line) widens the gradient's budget in those: a number that rounds across the kink turns a derivative on or
off, which no conditioning foresees (measured: up to 34 eps, where the smooth cells stay below 16)."""


@dataclass(frozen=True)
class Budget:
    """Largest error allowed, relative to max(1, max|reference|), of outputs and states, and of gradients."""

    forward: float
    gradient: float


KINKED = ("relu", "leaky_relu", "hard_sigmoid", "hard_sigmoid_0.2")


def eps_of(dtype: str, tf32: bool = False) -> float:
    """Spacing of the numbers next to one in a dtype."""
    if tf32 and dtype == "float32":
        return TF32_EPS
    return float(ml_dtypes.finfo(dtype).eps)


def budget(problem: Problem, steps: int | None = None, *, tf32: bool = False) -> Budget:
    """The budget for one problem in the dtype of its weights: 4·R·eps, R being ``conditioning``.

    A gradient is a sum over the N pixels of all frames, and rounds as a convolution of so many taps does: there R is at
    least 1 + √N/5. (Without that the longest sums in float64 came to 0.91 of the budget.)
    """
    dtype = str(problem.weights.dtype)
    eps = eps_of(dtype, tf32)
    if dtype in HALF:
        forward, gradient = HALF[dtype]
        kinks = any(
            layer.activation in KINKED or layer.recurrent_activation in KINKED
            for layer in problem.weights.spec.recurrent.layers
        )
        return Budget(forward * eps, gradient * eps * (KINK if kinks else 1.0))
    response = conditioning(problem, steps)
    pixels = problem.x.size // problem.x.shape[2]
    return Budget(4 * response * eps, 4 * max(response, 1 + sqrt(pixels) / 5) * eps)


def conditioning(problem: Problem, steps: int | None = None) -> float:
    """R: the worst of three seeded responses of the float64 reference to rounding noise, in units of that noise.

    The noise is relative: (1 + √K/5)·eps on each convolution result (K = taps · channels), 1·eps on each new state.
    """
    weights, spec = problem.weights, problem.weights.spec
    x = problem.x.astype(np.float64)
    extras = reference.complete_extras(spec, x, problem.extras, steps)
    leaves = reference.leaves_of(weights, x, reference.complete_state(spec, x, problem.state), extras)
    state = nest_state(spec, leaves)

    def results(ops: Any = numpy_ops, settle: Any = None) -> list[np.ndarray]:
        layers, final = reference.compute(spec, leaves, x, state, steps, extras, ops=ops, settle=settle)
        return [layers[-1], *(array for _, array in state_leaves(spec, final))]

    exact = results()
    worst = 0.0
    for seed in SEEDS:
        noise = _Noise(seed)
        noisy = results(noise, noise.settle)
        worst = max(worst, *(error(got, want) for got, want in zip(noisy, exact, strict=True)))
    return max(1.0, worst / NOISE)


def error(got: np.ndarray, want: np.ndarray) -> float:
    """max|got − want| / max(1, max|want|); infinite where got is not a number."""
    if got.shape != want.shape:
        raise ValueError(f"parity expected shape {want.shape}, got {got.shape}")
    if not want.size:
        return 0.0
    difference = np.abs(got.astype(np.float64) - want).max()
    return float(difference / max(1.0, np.abs(want).max())) if np.isfinite(difference) else float("inf")


class _Noise:
    """numpy_ops with relative noise on each convolution result."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(numpy_ops, name)

    def conv(self, x: np.ndarray, p: Any, name: str) -> np.ndarray:
        """The convolution, each number off by (1 + √K/5)·eps·N(0, 1)."""
        return self._shake(numpy_ops.conv(x, p, name), 1 + sqrt(p[name].matrix.shape[-2]) / 5)

    def peep(self, c: np.ndarray, p: Any, name: str) -> np.ndarray:
        """A peephole, noisy where it is a convolution."""
        return numpy_ops.peep(c, p, name) if isinstance(p[name], np.ndarray) else self.conv(c, p, name)

    def settle(self, state: np.ndarray) -> np.ndarray:
        """A new state, each number off by eps·N(0, 1)."""
        return self._shake(state, 1.0)

    def _shake(self, a: np.ndarray, size: float) -> np.ndarray:
        return a * (1 + size * NOISE * self.rng.standard_normal(a.shape))
