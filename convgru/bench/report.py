"""The report of a run: a row for each contestant and measure, ratios, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from statistics import median, quantiles
from typing import Any

import convgru
from convgru.bench.contest import CONVGRU, FLOOR, PLAIN
from convgru.bench.workloads import Workload

FORMAT = 1
OK = "ok"
BAD = ("failed", "wrong numbers")
"""Statuses that make a run fail; ``out of memory`` and ``skipped`` do not."""


@dataclass(frozen=True)
class Row:
    """One contestant's times, or why there are none.

    Attributes:
        backend: the framework.
        workload: by name.
        cell: ``gru`` or ``lstm``.
        contestant: ``convgru``, a variant of it, ``plain loop``, ``floor``, or another library.
        measure: ``forward`` or ``training``; ``all`` for who was skipped.
        status: ``ok``, ``skipped``, ``out of memory``, ``failed`` or ``wrong numbers``.
        reason: of any status but ok.
        samples: seconds of each round; per frame where the workload is streaming.
        first: seconds of the first call, compiling included.
        error: largest difference from convgru's numbers, relative to the largest of them.
        saved_bytes: kept for the backward pass, parameters and input aside.
        peak_bytes: most memory at once, beyond framework, parameters and input.
    """

    backend: str
    workload: str
    cell: str
    contestant: str
    measure: str
    status: str
    reason: str = ""
    samples: tuple[float, ...] = ()
    first: float | None = None
    error: float | None = None
    saved_bytes: int | None = None
    peak_bytes: int | None = None

    @classmethod
    def from_event(cls, backend: str, workload: str, cell: str, event: Mapping[str, Any]) -> Row:
        """Make a row of what a process told."""
        given = {name: value for name, value in event.items() if name != "samples"}
        return cls(backend, workload, cell, samples=tuple(event.get("samples", ())), **given)

    def with_peak(self, peak: int) -> Row:
        """The row with its peak memory."""
        return replace(self, peak_bytes=peak)

    @property
    def contest(self) -> tuple[str, str, str, str]:
        """What rows must share to be compared: backend, workload, cell, measure."""
        return self.backend, self.workload, self.cell, self.measure

    @property
    def seconds(self) -> float | None:
        """The median."""
        return median(self.samples) if self.samples else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The first and the third quartile; None for a single number."""
        if len(self.samples) < 2:
            return None
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return low, high

    @property
    def ours(self) -> bool:
        """Whether it is convgru's own network."""
        return self.contestant.split(" ")[0] == CONVGRU


@dataclass
class Report:
    """All rows of a run, on what machine, with which settings and versions.

    Attributes:
        machine: CPU, cores, threads, memory, Python.
        settings: scale, runs and so on.
        workloads: with the sizes that were run.
        rows: of all contests.
        versions: of frameworks and rivals.
        absent: backends that are not installed, with the reason.
    """

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    workloads: Mapping[str, Workload]
    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def find(self, row: Row, contestant: str, backend: str | None = None) -> Row | None:
        """Return the row of another contestant of the same contest, if it has times."""
        key = (backend or row.backend, *row.contest[1:])
        rows = (r for r in self.rows if r.contest == key and r.contestant == contestant and r.samples)
        return next(rows, None)

    def ratio(self, row: Row, contestant: str) -> float | None:
        """Median over the rounds of this row's time by another contestant's; None without it."""
        other = self.find(row, contestant)
        if other is None or not row.samples:
            return None
        return median(a / b for a, b in zip(row.samples, other.samples, strict=False))

    def best_rival(self, row: Row) -> str | None:
        """Return the name of the fastest contestant that is neither convgru's nor the floor."""
        rivals = [
            r for r in self.rows if r.contest == row.contest and r.samples and not r.ours and r.contestant != FLOOR
        ]
        return min(rivals, key=lambda r: r.seconds or 0.0).contestant if rivals else None

    def to_torch(self, row: Row) -> float | None:
        """Time by that of PyTorch's plain loop, from another process of the same run."""
        torch = self.find(row, PLAIN, "torch")
        return None if torch is None or not torch.seconds or not row.seconds else row.seconds / torch.seconds

    @property
    def ok(self) -> bool:
        """Whether something was timed and nothing failed; memory may have run out."""
        return not self.failures()

    def failures(self) -> list[str]:
        """Return a sentence for each contestant that failed or computes something else."""
        bad = [f"{' '.join(r.contest)} {r.contestant}: {r.status}: {r.reason}" for r in self.rows if r.status in BAD]
        return bad if any(row.samples for row in self.rows) else [*bad, "nothing was timed"]

    def flat(self, row: Row) -> dict[str, Any]:
        """Return a row with its statistics and ratios."""
        low, high = row.spread or (None, None)
        best = self.best_rival(row) if row.ours else None
        described = {**asdict(row), "seconds": row.seconds, "low": low, "high": high, "runs": len(row.samples)}
        described |= {"to_floor": self.ratio(row, FLOOR), "to_plain": self.ratio(row, PLAIN)}
        described |= {"best_rival": best, "to_best_rival": None if best is None else self.ratio(row, best)}
        return described | {"to_torch_plain": self.to_torch(row)}

    def to_json(self) -> str:
        """Return everything as JSON, with the number of its format."""
        text = {"format": FORMAT, "convgru": convgru.__version__, "ok": self.ok, "failures": self.failures()}
        text |= {"machine": self.machine, "settings": self.settings, "versions": self.versions, "absent": self.absent}
        text |= {"workloads": {name: each.to_json() for name, each in self.workloads.items()}}
        return json.dumps({**text, "rows": [self.flat(row) for row in self.rows]}, indent=1)

    def to_csv(self) -> str:
        """Return the rows as CSV, one line each, without the single samples."""
        file = io.StringIO()
        rows = [{n: v for n, v in self.flat(row).items() if n != "samples"} for row in self.rows]
        if rows:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        return file.getvalue()

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what ``to_json`` wrote. Raises ValueError for another format."""
        given = json.loads(text)
        if not isinstance(given, dict) or given.get("format") != FORMAT:
            raise ValueError(f"expected the JSON of convgru bench, format {FORMAT}")
        named: list[dict[str, Any]] = [{each.name: row[each.name] for each in fields(Row)} for row in given["rows"]]
        rows = [Row(**{**row, "samples": tuple(row["samples"])}) for row in named]
        sizes = {name: Workload.from_json(each) for name, each in given["workloads"].items()}
        return cls(given["machine"], given["settings"], sizes, rows, given["versions"], given["absent"])
