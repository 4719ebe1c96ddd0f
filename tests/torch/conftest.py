"""What the tests of the PyTorch room share; where torch is not installed they are left out, and the first line says so."""

from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]


def pytest_report_header():
    return None if find_spec("torch") else "tests/torch: left out, torch is not installed"


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same random numbers, alone or in company."""
    if find_spec("torch"):
        import torch

        torch.manual_seed(0)
