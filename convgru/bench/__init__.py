"""Time the networks of every framework beside their rivals and the floor: ``convgru bench``.

docs/performance.md says what is measured and holds one run.
"""

from __future__ import annotations

from convgru.bench.contest import CONVGRU, FLOOR, PLAIN, RIVALS
from convgru.bench.report import Report, Row
from convgru.bench.session import BACKENDS, CELLS, SCALE, Settings, run
from convgru.bench.workloads import WORKLOADS, Workload

__all__ = [
    "BACKENDS",
    "CELLS",
    "CONVGRU",
    "FLOOR",
    "PLAIN",
    "RIVALS",
    "SCALE",
    "WORKLOADS",
    "Report",
    "Row",
    "Settings",
    "Workload",
    "run",
]
