"""Train a nowcaster in PyTorch, and forecast with it in any framework."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convgru import registry
from convgru.nowcasting import lagrangian
from convgru.nowcasting.frames import Units
from convgru.spec import ForecasterSpec, forecaster
from convgru.weights import Weights

GIVEN, AHEAD = 6, 12
"""Frames that a forecast starts from, and frames that it predicts."""
TRAINED = 9
"""Frames that training predicts, if no more are asked for: the rest follows from feedback."""
STEPS = 250
"""Steps of training, under a minute of one core; no time limit, so that results can be repeated."""


def nowcaster(patch: int = 1) -> ForecasterSpec:
    """The network: one ConvGRU layer of 16 channels, predicting the change of each frame.

    It works on pixels: patches would be quicker, and would show.
    """
    return forecaster("gru", channels=1, hidden_channels=16, kernel_size=3, patch=patch)


def train(
    spec: ForecasterSpec,
    windows: np.ndarray,
    given: int,
    units: Units,
    *,
    steps: int = STEPS,
    seed: int = 0,
    move: bool = True,
    report: Callable[[int, float], None] | None = None,
) -> Weights:
    """Train on windows (N, T, H, W), of which the first ``given`` frames are given.

    ``report`` is called after each step with its number and the loss. Raises ImportError without
    PyTorch, ValueError as ``convgru_torch.nowcast.train`` and ``motion.estimate``.
    """
    if windows.ndim != 4 or not 0 < given < windows.shape[1]:
        raise ValueError(
            "train expected windows (N, T, H, W), of which fewer than T frames are given, "
            f"got shape {windows.shape} with {given} given"
        )
    loop = registry.room("torch", "nowcast")
    moved, known = lagrangian.training_set(units.clean(windows), given, move=move)
    limits = [float(units.scaled(limit)) for limit in units.thresholds]
    trained = loop.train(spec, units.scaled(moved), known, steps=steps, thresholds=limits, seed=seed, report=report)
    assert isinstance(trained, Weights)
    return trained


def forecast(
    weights: Weights, framework: str, given: np.ndarray, steps: int, units: Units, motion: np.ndarray
) -> np.ndarray:
    """Forecast the frames that follow each window of given frames (N, T, H, W), in their units.

    ``motion`` (N, 2, H, W) is that of the windows, as ``lagrangian.motions`` estimates it. Weaker
    echoes than ``units.zero`` are none. Returns (N, steps, H, W). Raises ImportError without the
    framework.
    """
    backend = registry.get(framework)
    assert isinstance(weights.spec, ForecasterSpec)

    def predict(x: np.ndarray, count: int) -> np.ndarray:
        return backend.execute(weights, units.scaled(x), steps=count)[0]

    frames = lagrangian.forecast(predict, units.clean(given), steps, motion, weights.spec.patch)
    return np.asarray(np.maximum(units.restored(frames), np.float32(units.zero)))
