"""Parity: run networks on every backend and compare with the float64 reference."""

from convgru.parity.comparison import DTYPES, Progress, compare, run
from convgru.parity.report import Report, Row

__all__ = ["DTYPES", "Progress", "Report", "Row", "compare", "run"]
