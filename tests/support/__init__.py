"""Helpers of all tests: goldens, random networks and calls, one comparison of numbers.

``tests/conftest.py`` makes this folder importable as the package ``support``.
"""

from __future__ import annotations

from support.bench import contest_rows
from support.closeness import as_float64, assert_close, relative_error
from support.commands import assert_fails, assert_no_finds
from support.goldens import FOREIGN, GOLDENS, load_golden
from support.problems import channels_last, random_problem, random_weights

__all__ = [
    "FOREIGN",
    "GOLDENS",
    "as_float64",
    "assert_close",
    "assert_fails",
    "assert_no_finds",
    "channels_last",
    "contest_rows",
    "load_golden",
    "random_problem",
    "random_weights",
    "relative_error",
]
