"""Lets the tests of this folder import ``strategies``, which stands beside them."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
sys.path.insert(0, str(Path(__file__).parent))
