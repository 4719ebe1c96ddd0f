"""Model of rounding: disturb arrays at random by as much as rounding would."""

from __future__ import annotations

from math import sqrt

import numpy as np

SCALE = 2.0**-34
"""Size of the errors that stand for eps.

It is small enough for responses to be linear and for no ReLU to switch, and far above float64's
eps.
"""
WALK = 0.2
"""Rounding error of a sum of n terms, in units of eps·√n·√(sum of squares): a random walk.

docs/parity.md derives it.
"""


class Rounding:
    """Random errors of the size of rounding, independent for each number."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def sum(
        self,
        value: np.ndarray,
        squares: np.ndarray,
        terms: int,
        extra: float = 0.0,
        largest: np.ndarray | None = None,
    ) -> np.ndarray:
        """Disturb a sum of ``terms`` terms by (extra + √terms/5) eps.

        ``squares`` is the sum of the squares of the terms, ``largest`` the largest |partial sum|
        if that is known.
        """
        if not extra and not terms:
            return value
        size = np.maximum(np.sqrt(squares), np.abs(value))
        if largest is not None:
            size = np.maximum(size, largest)
        return np.asarray(value + (extra + WALK * sqrt(terms)) * size * self._errors(value.shape))

    def result(self, value: np.ndarray) -> np.ndarray:
        """Disturb the result of a function by one eps."""
        return np.asarray(value * (1 + self._errors(value.shape)))

    def _errors(self, shape: tuple[int, ...]) -> np.ndarray:
        """Draw uniform numbers of mean zero and standard deviation SCALE."""
        return np.asarray((self.rng.random(shape) - 0.5) * (SCALE * sqrt(12.0)))
