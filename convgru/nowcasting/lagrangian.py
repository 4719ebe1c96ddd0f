"""Forecasts in the frame that moves with the echoes, where what is left is growth and decay.

The given frames are moved along their motion to the time of the last one, a network forecasts how
the echoes change there, and its frames are moved on to where the echoes will be. A network that
predicts no change forecasts Lagrangian persistence (Germann and Zawadzki 2002); L-CNN learns in the
same coordinates (Ritvanen et al. 2023). Windows of frames are arrays (N, T, H, W).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convgru.nowcasting import motion as moving

Predict = Callable[[np.ndarray, int], np.ndarray]
"""A network: given frames (T, N, 1, H, W) and a number of steps to the frames that follow."""


def motions(given: np.ndarray, *, move: bool = True) -> np.ndarray:
    """Estimate the motion in each window of given frames: (N, 2, H, W), zero unless ``move``."""
    if not move:
        return np.zeros((len(given), 2, *given.shape[2:]), np.float32)
    return np.stack([moving.estimate(window) for window in given])


def extrapolate(given: np.ndarray, steps: int, motion: np.ndarray) -> np.ndarray:
    """Move the last given frame of each window on: Lagrangian persistence (N, steps, H, W)."""
    return release(np.repeat(given[:, -1:], steps, axis=1), motion)


def release(frames: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Move forecasts (N, steps, H, W) from the time of the last given frame to their own times."""
    return np.stack([moving.advect_each(window, field) for window, field in zip(frames, motion, strict=True)])


def training_set(frames: np.ndarray, given: int, *, move: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Move whole windows (N, T, H, W) to the time of their last given frame.

    The motion is that of the given frames alone, as in a forecast.

    Returns:
        The moved windows, and where the frames to predict are known, bool (N, T - given, H, W):
        what has moved out of the image is not.
    """
    moved, known = [], []
    for window, motion in zip(frames, motions(frames[:, :given], move=move), strict=True):
        later = moving.advect_each(window[given:], motion, -1)
        moved.append(np.concatenate([moving.align(window[:given], motion), later]))
        known.append(moving.inside(motion, -len(later)))
    return np.stack(moved), np.stack(known)


def forecast(predict: Predict, given: np.ndarray, steps: int, motion: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """Forecast the ``steps`` frames that follow each window of given frames (N, T, H, W).

    The network sees them moved along ``motion`` (N, 2, H, W), and padded with what is at their edge
    to a multiple of ``patch``. Returns (N, steps, H, W).
    """
    aligned = np.stack([moving.align(window, field) for window, field in zip(given, motion, strict=True)])
    height, width = given.shape[2:]
    edges = [(0, -size % step) for size, step in zip((height, width), patch, strict=True)]
    x = np.pad(aligned, [(0, 0), (0, 0), *edges], mode="edge")
    frames = predict(x.swapaxes(0, 1)[:, :, None], steps)[:, :, 0].swapaxes(0, 1)
    return release(frames[:, :, :height, :width], motion)
