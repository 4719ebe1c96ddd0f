"""Parity: run networks on every backend and compare with the float64 reference.

A run goes from ``table`` (specs and calls) to ``cases`` (problems with numbers), ``tasks`` in
``processes``, ``oracle`` (the reference's answer, and the comparison) and ``report``.
"""

from convgru.parity.comparison import DTYPES, Progress, compare, run
from convgru.parity.module import Module
from convgru.parity.report import Report, Row

__all__ = ["DTYPES", "Module", "Progress", "Report", "Row", "compare", "run"]
