"""Skill of a forecast by lead time: mean squared error, and critical success index."""

from __future__ import annotations

import numpy as np

THRESHOLDS = (10.0, 20.0)
"""dBZ: light rain, and moderate rain."""


def mse(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean squared error in dBZ² for each lead time; both (T, B, 1, H, W)."""
    return np.asarray(((forecast.astype(np.float64) - truth) ** 2).mean(axis=(1, 2, 3, 4)))


def csi(forecast: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Hits / (hits + misses + false alarms) for each lead time; NaN where all of them are zero."""
    seen, said = truth >= threshold, forecast >= threshold
    axes = (1, 2, 3, 4)
    hits, either = (seen & said).sum(axis=axes), (seen | said).sum(axis=axes)
    return np.where(either > 0, hits / np.maximum(either, 1), np.nan)


def persistence(given: np.ndarray, steps: int) -> np.ndarray:
    """The forecast to beat: nothing changes."""
    return np.repeat(given[-1:], steps, axis=0)
