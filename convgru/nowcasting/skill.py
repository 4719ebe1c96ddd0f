"""Skill of a forecast by lead time: mean squared error, and critical success index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


def mse(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean squared error, in squared units, for each lead time; both (N, T, H, W)."""
    return np.asarray(((forecast.astype(np.float64) - truth) ** 2).mean(axis=(0, 2, 3)))


def csi(forecast: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Critical success index: hits / (hits + misses + false alarms), for each lead time.

    NaN where there are none of the three; both (N, T, H, W). Schaefer 1990.
    """
    seen, said = truth >= threshold, forecast >= threshold
    hits, either = (seen & said).sum(axis=(0, 2, 3)), (seen | said).sum(axis=(0, 2, 3))
    return np.where(either > 0, hits / np.maximum(either, 1), np.nan)


def persistence(given: np.ndarray, steps: int) -> np.ndarray:
    """The forecast that nothing changes: the last of the frames (N, T, H, W), ``steps`` times."""
    return np.repeat(given[:, -1:], steps, axis=1)


@dataclass(frozen=True)
class Scores:
    """Scores of several forecasts by name, each an array with one entry for each lead time."""

    mse: dict[str, np.ndarray]
    csi: dict[float, dict[str, np.ndarray]]


def score(forecasts: Mapping[str, np.ndarray], truth: np.ndarray, thresholds: Sequence[float]) -> Scores:
    """Score forecasts (N, T, H, W) by name against the truth, CSI at each of the thresholds."""
    return Scores(
        {name: mse(frames, truth) for name, frames in forecasts.items()},
        {limit: {name: csi(frames, truth, limit) for name, frames in forecasts.items()} for limit in thresholds},
    )
