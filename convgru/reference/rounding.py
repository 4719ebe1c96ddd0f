"""How large the rounding errors of a sum are, and arrays that are off by so much, at random."""

from __future__ import annotations

from math import sqrt

import numpy as np

SCALE = 2.0**-34
"""What stands for eps: so small that responses are linear and no ReLU turns, so large that float64's own rounding is nothing."""
WALK = 0.2
"""Rounding error of a sum of n terms in units of eps · √n · the root of their sum of squares: a random walk (docs/parity.md)."""


class Rounding:
    """Random errors of the size of rounding, independent for each number."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def sum(self, value: np.ndarray, squares: np.ndarray, terms: int, extra: float = 0.0) -> np.ndarray:
        """The sum of so many terms, whose squares add up to ``squares``, off by (extra + √terms / 5) eps."""
        if not extra and not terms:
            return value
        size = np.maximum(np.sqrt(squares), np.abs(value))
        return np.asarray(value + (extra + WALK * sqrt(terms)) * size * self._errors(value.shape))

    def result(self, value: np.ndarray) -> np.ndarray:
        """The result of a function, off by one eps."""
        return np.asarray(value * (1 + self._errors(value.shape)))

    def _errors(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform numbers of mean zero and variance SCALE²."""
        return np.asarray((self.rng.random(shape) - 0.5) * (SCALE * sqrt(12.0)))
