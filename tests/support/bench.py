"""One contest of the benchmark in this process, tiny, and what became of it."""

from __future__ import annotations

from typing import Any

from convgru.bench import worker
from convgru.bench.workloads import WORKLOADS

TINY = 3e5
"""Multiply-adds, by which no workload takes long."""


def contest_rows(backend: str, workload: str, cell: str, **task: Any) -> tuple[dict[Any, Any], dict[str, str]]:
    """Return the rows by contestant and measure, and the reasons of those who were skipped."""
    given: dict[str, Any] = {"backend": backend, "workload": WORKLOADS[workload].within(TINY).to_json(), "cell": cell}
    given |= {"variants": {}, "only": None, "without": [], "compiled": False, "runs": 1, "patience": 0.0}
    given |= {"threads": None, "memory_limit": None, "peak": False}
    events: list[dict[str, Any]] = []
    worker.work({**given, **task}, lambda **event: events.append(event))
    rows = {(e["contestant"], e["measure"]): e for e in events if e["event"] == "row"}
    (entered,) = [event for event in events if event["event"] == "entered"]
    return rows, entered["skipped"]
