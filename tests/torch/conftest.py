"""Shared fixtures; without torch the tests here are skipped, as the report's header says."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def pytest_report_header():
    return None if find_spec("torch") else "tests/torch: left out, torch is not installed"


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same random numbers, alone or in company."""
    if find_spec("torch"):
        import torch

        torch.manual_seed(0)


@pytest.fixture
def golden():
    """Meta, state dict and the other arrays of a golden, by its name, as tensors."""
    import torch

    def load(name):
        with np.load(GOLDENS / f"{name}.npz", allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        meta = json.loads(str(arrays.pop("meta")))
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        start = "state_dict/"
        state_dict = {key.removeprefix(start): tensors.pop(key) for key in arrays if key.startswith(start)}
        return meta, state_dict, tensors

    return load
