"""Parity: run networks on every backend and compare with the float64 reference."""

from convgru.parity.comparison import DTYPES, Progress, compare, run
from convgru.parity.module import Module
from convgru.parity.report import Report, Row

__all__ = ["DTYPES", "Module", "Progress", "Report", "Row", "compare", "run"]
