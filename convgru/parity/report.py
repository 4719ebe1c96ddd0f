"""What a parity run found: rows of error and budget, what could not be compared and why, and its verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from convgru.parity.faults import Control

QUANTITIES = ("output", "state", "gradient")


@dataclass(frozen=True)
class Row:
    """One quantity of one case on one backend; ``leaf`` is the array that fared worst."""

    case: str
    backend: str
    dtype: str
    device: str
    quantity: str
    leaf: str
    error: float
    budget: float

    @property
    def ratio(self) -> float:
        """Achieved over budget: up to 1 is within."""
        return self.error / self.budget

    @property
    def ok(self) -> bool:
        """Whether the error is within a finite budget; never so for NaN."""
        return self.error <= self.budget < float("inf")


@dataclass
class Report:
    """Everything a parity run found."""

    device: str
    tf32: bool
    platform: str
    versions: dict[str, str] = field(default_factory=dict)
    backends: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    unsupported: dict[str, str] = field(default_factory=dict)
    """``backend dtype device`` to the reason why it was not compared."""
    absent: dict[str, str] = field(default_factory=dict)
    """Backends that are not installed, each with what would install it."""

    @property
    def ok(self) -> bool:
        """Whether every row is within budget, every control caught, and every backend compared something."""
        return not self.failures()

    def failures(self) -> list[str]:
        """One sentence for everything that keeps the report from being ok, in the order of the rows."""
        found = [
            f"{r.backend} {r.dtype} {r.case}: {r.quantity} ({r.leaf}) error {r.error:.3g} over budget {r.budget:.3g}"
            for r in self.rows
            if not r.ok
        ]
        found += [
            f"{c.backend} {c.dtype}: control {c.fault} on {c.case} was not caught (error only {c.ratio:.3g} budgets)"
            for c in self.controls
            if not c.caught
        ]
        compared = {row.backend for row in self.rows}
        reasons = {key.split()[0]: reason for key, reason in self.unsupported.items()}
        partly = {f"{row.backend} {row.dtype} {row.device}" for row in self.rows} & self.unsupported.keys()
        found += [f"{key} compared some cases and refused others: {self.unsupported[key]}" for key in sorted(partly)]
        for name in self.backends:
            if name not in compared:
                found.append(f"{name} compared nothing: {reasons.get(name, 'no case ran')}")
        if not self.rows:
            found.append("nothing was compared" + ("" if self.backends else ": no backend is installed"))
        return found

    def summary(self) -> Iterator[tuple[str, str, str, int, Row]]:
        """For each backend, dtype and quantity: how many cases, and the row with the worst ratio."""
        for name in self.backends:
            for dtype in dict.fromkeys(row.dtype for row in self.rows):
                for quantity in QUANTITIES:
                    rows = [r for r in self.rows if (r.backend, r.dtype, r.quantity) == (name, dtype, quantity)]
                    if rows:
                        # NaN is worse than any number
                        worst = max(rows, key=lambda r: r.ratio if r.ratio == r.ratio else float("inf"))
                        yield name, dtype, quantity, len(rows), worst

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data, with ``ok`` and the failures spelled out."""
        rows = [{**asdict(row), "ratio": row.ratio, "ok": row.ok} for row in self.rows]
        return {"ok": self.ok, "failures": self.failures(), **asdict(self), "rows": rows}

    def to_json(self) -> str:
        """The report as JSON text; numbers that are infinite or NaN become strings, for JSON has none."""
        return json.dumps(_plain(self.as_dict()), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
