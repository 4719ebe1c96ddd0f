"""The two radar days of the demo: where their files are, and what their numbers mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convgru.nowcasting import frames
from convgru.nowcasting.frames import Units

TRAINING_DAY, TEST_DAY = "20160928", "20170509"
CREDIT = "Radar: Finnish Meteorological Institute open data, composite, 2016-09-28 / 2017-05-09; cropped (CC BY 4.0)"
UNITS = Units("dBZ", zero=0.0, scale=40.0, thresholds=(10.0, 20.0), minutes=5.0)
"""Thresholds: light rain, and moderate rain."""


def load(day: str, folder: Path | None = None) -> np.ndarray:
    """Return the reflectivity of one day (T, H, W) in dBZ, float32; below 0 there is no echo.

    Args:
        day: ``TRAINING_DAY`` or ``TEST_DAY``.
        folder: where the files are; None: ``examples/data`` of the checkout that this module, or
            the current folder, is in.

    Raises:
        FileNotFoundError: the file is not there.
    """
    name = f"fmi_{day}.npz"
    checkouts = (Path(__file__).resolve().parents[3], Path.cwd())
    places = [folder] if folder is not None else [checkout / "examples" / "data" for checkout in checkouts]
    for place in places:
        if (place / name).is_file():
            (sequence,) = frames.read(place / name, gain=0.5, offset=-32.0)
            return UNITS.clean(sequence)
    raise FileNotFoundError(
        f"the demo's radar ({name}) is part of the repository, not of the installed package: run convgru demo in a "
        f"checkout, or say --data FOLDER; looked in {' and '.join(map(str, places))}"
    )
