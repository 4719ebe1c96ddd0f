"""Report of a parity run: errors and budgets, what was not compared and why, and the verdict."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from convgru.parity.faults import Control

QUANTITIES = ("output", "state", "gradient")


@dataclass(frozen=True)
class Row:
    """One quantity of one case on one backend.

    Attributes:
        case: the case's name.
        backend: the backend's name.
        dtype: dtype of weights and arguments.
        device: where the backend computed.
        quantity: output, state or gradient.
        leaf: the array of this quantity with the largest ratio of error to budget.
        error: its largest error, relative to max(1, max|reference|).
        budget: the largest error that is allowed.
        reason: why it is no agreement whatever the budget: another dtype, a number that is not
            finite, or ``blind``.
        blind: whether the budget is so large that a result of zeros would keep within it.
    """

    case: str
    backend: str
    dtype: str
    device: str
    quantity: str
    leaf: str
    error: float
    budget: float
    reason: str = ""
    blind: bool = False

    @property
    def ratio(self) -> float:
        """Error over budget; within budget up to 1."""
        return self.error / self.budget

    @property
    def rank(self) -> float:
        """The ratio, with infinity for NaN and for what cannot be compared: finds the worst row."""
        return float("inf") if self.blind or self.ratio != self.ratio else self.ratio

    @property
    def ok(self) -> bool:
        """Whether the error is within a finite budget; False for NaN, and if ``blind``."""
        return self.error <= self.budget < float("inf") and not self.blind


@dataclass
class Report:
    """Everything that a parity run measured.

    Attributes:
        device: where the backends computed.
        tf32: whether float32 was allowed to be TF32.
        platform: operating system and processor.
        versions: of Python, NumPy and every framework.
        devices: by the name of each backend its device, and what it says of it: a GPU's name.
        backends: names of what was compared.
        requested: those that were asked for by name.
        rows: error and budget of every quantity of every case on every backend.
        controls: results of the planted faults.
        unsupported: "backend dtype device" to the reason why a backend computes nothing so.
        absent: backends that are not installed, each with what would install it.
        declined: "module dtype device case" to the reason why a user's module declines the case.
        errors: "module dtype device case" to the error that a user's module raised.
        unoptimised: "backend dtype" of those whose programs XLA compiled without optimising them.
    """

    device: str
    tf32: bool
    platform: str
    versions: dict[str, str] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    backends: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    unsupported: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    unoptimised: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, device: str, tf32: bool) -> Report:
        """Start the report of a run on this machine."""
        versions = {"python": platform.python_version(), "numpy": np.__version__}
        return cls(device, tf32, f"{platform.system()} {platform.machine()}", versions)

    def add(self, other: Report) -> None:
        """Add the report of a part of the run."""
        self.rows += other.rows
        self.controls += other.controls
        self.backends, self.requested = other.backends, other.requested
        self.unoptimised = list(dict.fromkeys(self.unoptimised + other.unoptimised))
        for name in ("versions", "devices", "unsupported", "absent", "declined", "errors"):
            getattr(self, name).update(getattr(other, name))

    @property
    def ok(self) -> bool:
        """Whether there are no ``failures``."""
        return not self.failures()

    def failures(self) -> list[str]:
        """List in one sentence each what makes the report fail.

        Errors over their budget, budgets that are too large to compare by, planted faults that were
        not caught, errors of a user's module, backends that computed some cases of a dtype and
        refused others, backends asked for by name that compared nothing or not all dtypes, and a
        run that compared nothing at all.
        """
        failures = [
            f"{row.backend} {row.dtype} {row.case}: {row.quantity} ({row.leaf}) "
            + (row.reason or f"error {row.error:.3g} over budget {row.budget:.3g}")
            for row in self.rows
            if not row.ok
        ]
        failures += [
            f"{c.backend} {c.dtype}: control {c.fault} on {c.case} was not caught (error only {c.ratio:.3g} budgets)"
            for c in self.controls
            if not c.caught
        ]
        failures += [f"{key}: {error}" for key, error in self.errors.items()]
        computed = {f"{row.backend} {row.dtype} {row.device}" for row in self.rows}
        for key, reason in self.unsupported.items():
            if key in computed:
                failures.append(f"{key} compared some cases and refused others: {reason}")
            elif key.split()[0] in self.requested:
                failures.append(f"{key} was asked for and compared nothing: {reason}")
        compared = {row.backend for row in self.rows} | {key.split()[0] for key in self.unsupported}
        for name in self.requested:
            if name not in compared:
                reasons = [reason for key, reason in self.declined.items() if key.startswith(f"{name} ")]
                failures.append(f"{name} compared nothing: {reasons[0] if reasons else 'no case ran'}")
        if not self.rows:
            reasons = list(dict.fromkeys(self.unsupported.values())) or ["no case ran"]
            failures.append(
                "nothing was compared: " + ("; ".join(reasons) if self.backends else "no backend is installed")
            )
        return failures

    @property
    def verdict(self) -> str:
        """In a few words whether it failed, and how many cases a user's module declined."""
        failures = len(self.failures())
        words = [f"FAILED: {failures}" if failures else "within budget"]
        for name in self.backends:
            ran = {row.case for row in self.rows if row.backend == name}
            ran |= _cases_of(name, self.errors)
            declined = _cases_of(name, self.declined)
            if declined:
                words.append(f"{name} ran {len(ran)} of {len(ran | declined)} cases, the others it declined")
        return "; ".join(words)

    def summary(self) -> Iterator[tuple[str, str, str, int, Row]]:
        """Yield (backend, dtype, quantity, number of cases, worst row)."""
        for name in self.backends:
            for dtype in dict.fromkeys(row.dtype for row in self.rows):
                for quantity in QUANTITIES:
                    rows = [r for r in self.rows if (r.backend, r.dtype, r.quantity) == (name, dtype, quantity)]
                    if rows:
                        yield name, dtype, quantity, len(rows), max(rows, key=lambda row: row.rank)

    def __str__(self) -> str:
        """The worst number of each backend, dtype and quantity, the verdict, and every failure."""
        lines = ["backend     dtype     quantity  cases  worst error  of budget"]
        for name, dtype, quantity, cases, worst in self.summary():
            line = f"{name:<11} {dtype:<9} {quantity:<9} {cases:>5}  {worst.error:>11.2g}"
            lines.append(f"{line}  {worst.rank:>9.2f}")
        if self.unoptimised:
            lines.append(f"compiled without XLA's optimisation: {', '.join(self.unoptimised)}")
        return "\n".join([*lines, self.verdict, *self.failures()])

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, with ``ok`` and ``failures``."""
        rows = [{**asdict(row), "ratio": row.ratio, "ok": row.ok} for row in self.rows]
        return {"ok": self.ok, "failures": self.failures(), **asdict(self), "rows": rows}

    def to_json(self) -> str:
        """Return the report as JSON text, infinite numbers and NaN as strings."""
        return json.dumps(_plain(self.as_dict()), indent=1, allow_nan=False)


def _cases_of(module: str, keys: Iterable[str]) -> set[str]:
    """Cases of one module in keys "module dtype device case"."""
    start = f"{module} "
    return {key.removeprefix(start).split(" ", 2)[2] for key in keys if key.startswith(start)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
