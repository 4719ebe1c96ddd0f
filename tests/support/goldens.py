"""Load the goldens, the results of other implementations: see tests/goldens/README.md."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
FOREIGN = GOLDENS / "foreign"
_STATE_DICT = "state_dict/"


def load_golden(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return metadata, state dict, and inputs and outputs of the golden tests/goldens/<name>.npz.

    The arrays are copies, which the caller may change.
    """
    text, arrays = _read(name)
    copies = {key: array.copy() for key, array in arrays.items()}
    state_dict = {key.removeprefix(_STATE_DICT): copies.pop(key) for key in arrays if key.startswith(_STATE_DICT)}
    return json.loads(text), state_dict, copies


@cache
def _read(name: str) -> tuple[str, dict[str, np.ndarray]]:
    with np.load(GOLDENS / f"{name}.npz", allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return str(arrays.pop("meta")), arrays
