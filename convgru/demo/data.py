"""The two radar days of the demo: where their files are, and how to scale reflectivity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

TRAINING_DAY, TEST_DAY = "20160928", "20170509"
CREDIT = "Radar: Finnish Meteorological Institute open data, composite, 2016-09-28 / 2017-05-09; cropped (CC BY 4.0)"
MINUTES = 5
"""Minutes between two frames."""
SCALE = 40.0
"""Reflectivity in dBZ that becomes 1.0."""
GIVEN, AHEAD = 6, 12
"""Frames that a forecast starts from, and frames that it predicts: half an hour, and an hour."""


def load(day: str) -> np.ndarray:
    """Return the reflectivity of one day (T, H, W) in dBZ, float32.

    No echo, and echoes weaker than 0 dBZ, are 0.

    Raises FileNotFoundError if neither the installed package nor the checkout has the file.
    """
    name = f"fmi_{day}.npz"
    here = Path(__file__).resolve()
    places = [here.parent / "data", here.parents[2] / "examples" / "data"]
    for place in places:
        if (place / name).is_file():
            with np.load(place / name, allow_pickle=False) as archive:
                frames = archive["frames"]
            return np.asarray(np.maximum((frames.astype(np.float32) - 64) / 2, 0))
    raise FileNotFoundError(f"radar data {name} expected in {' or '.join(map(str, places))}")


def windows(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a day into overlapping windows (T, B, 1, H, W): given frames, and those that follow."""
    count = len(frames) - GIVEN - AHEAD + 1
    cut = np.stack([frames[start : start + GIVEN + AHEAD] for start in range(count)], axis=1)[:, :, None]
    return cut[:GIVEN], cut[GIVEN:]
