"""A whole run: one process for each contest, and one more for each contestant's memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convgru import registry
from convgru.bench import machine, memory
from convgru.bench.contest import CONVGRU, PLAIN, PRECISIONS, RIVALS
from convgru.bench.report import OK, Report, Row
from convgru.bench.workloads import WORKLOADS, Workload, scaled

BACKENDS = ("torch", "jax", "flax", "mindspore", "numpy")
"""Whose contestants can be timed."""
SCALE = 0.1
"""The most work of a workload, in that of the largest, unless a run says otherwise."""
RUNS, PATIENCE = 5, 10.0
CELLS = ("gru", "lstm")
"""The cells that are timed."""
LONGEST = 1800
"""Seconds after which a process is ended: a framework that finds no memory may wait for ever."""
PROGRESS = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Settings:
    """What to time, and how.

    Attributes:
        backends: of ``BACKENDS``; None for all that are installed.
        workloads: of ``WORKLOADS``.
        cells: ``gru``, ``lstm`` or both; a workload may be for one of them alone.
        scale: no workload has more work than this part of the largest's, above 0 and at most 1.
        runs: rounds in which contestants are timed in turn.
        patience: seconds after which a contestant is not called again in one contest.
        threads: of each process; None leaves it to the frameworks.
        variants: options of convgru's own network to time beside the defaults.
        rivals: names of the contestants beside convgru's own; None for all.
        compiled: whether the plain loop is also compiled by torch.compile, which takes a minute.
        memory: whether the peak memory of convgru's networks and the plain loop is measured, in
            processes of their own.
        memory_limit: bytes that a process may take beyond framework and arrays; None for no limit.
        device: ``cpu``, or for PyTorch ``cuda``: times by CUDA events, peaks by its allocator.
        precision: of all contestants: ``float32``, ``tf32`` or ``bfloat16``.
    """

    backends: tuple[str, ...] | None = None
    workloads: tuple[str, ...] = tuple(WORKLOADS)
    cells: tuple[str, ...] = CELLS
    scale: float = SCALE
    runs: int = RUNS
    patience: float = PATIENCE
    threads: int | None = None
    variants: Sequence[Mapping[str, Any]] = ()
    rivals: tuple[str, ...] | None = None
    compiled: bool = False
    memory: bool = True
    memory_limit: int | None = None
    device: str = "cpu"
    precision: str = "float32"

    @property
    def named_variants(self) -> dict[str, Mapping[str, Any]]:
        """The variants by the names of their contestants: ``convgru impl=readable``."""
        return {" ".join([CONVGRU, *(f"{k}={v}" for k, v in each.items())]): each for each in self.variants}


@dataclass
class _Outcome:
    """What one process told: its rows, peaks, versions, and whether it came to its end."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    peaks: dict[tuple[str, str], int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    at: tuple[str, str] = ("all", "start")
    failure: str = ""
    out_of_memory: bool = False


def run(settings: Settings = Settings(), progress: PROGRESS | None = None) -> Report:
    """Time convgru's networks, their rivals and the floor, each contest in a process of its own.

    Raises:
        ValueError: an unknown name, or a number out of range.
        ImportError: a backend that was asked for by name is not installed.
    """
    workloads = scaled(settings.workloads, settings.scale)
    backends, absent = _backends(settings)
    _check(settings)
    contests = [
        (backend, workload, cell)
        for backend in backends
        for workload in workloads.values()
        for cell in settings.cells
        if cell in workload.cells
    ]
    report = Report(machine.described(settings.threads), _described(settings), workloads, absent=absent)
    tell = progress or (lambda done, total, what: None)
    for done, (backend, workload, cell) in enumerate(contests):
        tell(done, len(contests), f"{backend} {workload.name} {cell}")
        report.rows += _contest(settings, backend, workload, cell, report.versions)
    tell(len(contests), len(contests), "done")
    return report


def _check(settings: Settings) -> None:
    """Raise ValueError for a number out of range, and for names that nothing is called."""
    if settings.runs < 1:
        raise ValueError(f"bench runs expected a positive number, got {settings.runs}")
    for what, given, known in (("cells", settings.cells, CELLS), ("rivals", settings.rivals or (), RIVALS)):
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"bench {what} expected some of {', '.join(known)}, got {', '.join(unknown)}")


def _backends(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """The backends to time, and why others are not there. Raises ImportError, ValueError."""
    absent, present = {}, []
    if settings.precision not in PRECISIONS:
        raise ValueError(f"bench precision expected one of {', '.join(PRECISIONS)}, got {settings.precision!r}")
    elsewhere = (settings.device, settings.precision) != ("cpu", "float32")
    if elsewhere and settings.backends is None:
        settings = replace(settings, backends=("torch",))
    if elsewhere and settings.backends != ("torch",):
        raise ValueError(
            f"bench device={settings.device!r}, precision={settings.precision!r} is for the backend torch alone, "
            f"got {', '.join(settings.backends or ())}"
        )
    for name in BACKENDS if settings.backends is None else settings.backends:
        if name not in BACKENDS:
            raise ValueError(f"bench backends expected some of {', '.join(BACKENDS)}, got {name!r}")
        if name == "numpy" or machine.installed(name):
            present.append(name)
            continue
        reason = registry.explain(name, ModuleNotFoundError(name=name))
        if settings.backends is not None:
            raise reason
        absent[name] = str(reason)
    return present, absent


def _described(settings: Settings) -> dict[str, Any]:
    names = ("scale", "runs", "patience", "threads", "compiled", "memory", "memory_limit", "device", "precision")
    return {name: getattr(settings, name) for name in names} | {"variants": [*settings.named_variants]}


def _contest(
    settings: Settings, backend: str, workload: Workload, cell: str, versions: dict[str, str]
) -> Iterator[Row]:
    """Run a contest, again without whoever ended its process; then measure each one's memory."""
    variants = settings.named_variants
    only = None if settings.rivals is None else [CONVGRU, *variants, *settings.rivals]
    task: dict[str, Any] = {"backend": backend, "workload": workload.to_json(), "cell": cell, "variants": variants}
    task |= {"only": only, "without": [], "compiled": settings.compiled, "runs": settings.runs, "peak": False}
    task |= {"patience": settings.patience, "threads": settings.threads, "memory_limit": settings.memory_limit}
    task |= {"device": settings.device, "precision": settings.precision}
    given = (backend, workload.name, cell)
    rows: dict[tuple[str, str], Row] = {}
    while True:
        outcome = _process(task)
        versions.update(outcome.versions)
        for row in outcome.rows:
            rows[row["contestant"], row["measure"]] = Row.from_event(*given, row)
        if not outcome.failure:
            break
        name, measure = outcome.at
        status = "out of memory" if outcome.out_of_memory else "failed"
        rows[name, measure] = Row(*given, name, measure, status, outcome.failure)
        if name == "all" or name in task["without"]:
            break
        task["without"] = [*task["without"], name]
    for name, reason in outcome.skipped.items():
        rows[name, "all"] = Row(*given, name, "all", "skipped", reason)
    if settings.memory and not workload.streaming:
        timed = {name for (name, _), row in rows.items() if row.status == OK and row.peak_bytes is None}
        for name in (name for name in (CONVGRU, *variants, PLAIN) if name in timed):
            peaks = _process({**task, "only": [name], "peak": True}).peaks
            for key, peak in peaks.items():
                if key in rows:
                    rows[key] = rows[key].with_peak(peak)
    yield from rows.values()


def _process(task: Mapping[str, Any]) -> _Outcome:
    """Run a task in a process of its own and collect what it told, however it ended."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    if task["threads"] is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(task["threads"])
    outcome = _Outcome()
    with tempfile.TemporaryDirectory() as folder:
        events, errors = Path(folder, "events"), Path(folder, "errors")
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(
                [sys.executable, "-m", "convgru.bench.worker", str(events)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                cwd=folder,  # MindSpore leaves files where it runs
            ) as process,
        ):
            try:
                process.communicate(json.dumps(task).encode(), timeout=LONGEST)
            except subprocess.TimeoutExpired:
                process.kill()
                outcome.failure = f"no end after {LONGEST} seconds"
            except BaseException:
                process.kill()
                raise
        told = events.read_text(encoding="utf-8") if events.exists() else ""
        for line in told.rpartition("\n")[0].splitlines():  # who was killed may have left half a line
            _collect(outcome, json.loads(line))
        if process.returncode and not outcome.failure:
            said = errors.read_text(encoding="utf-8", errors="replace").strip()
            last = said.splitlines()[-1] if said else "it said nothing"
            outcome.failure = f"exit code {process.returncode}: {last[:400]}"
            if process.returncode == -signal.SIGKILL or (process.returncode < 0 and task["memory_limit"] is not None):
                # The system's way, and what programs do that find no memory: they abort.
                outcome.out_of_memory, outcome.failure = True, f"ended by signal {-process.returncode}"
            outcome.out_of_memory |= memory.ran_out(said[-4000:])
    return outcome


def _collect(outcome: _Outcome, event: dict[str, Any]) -> None:
    kind = event.pop("event")
    if kind == "begin":
        outcome.at = (event["contestant"], event["measure"])
    elif kind == "entered":
        outcome.versions, outcome.skipped = event["versions"], event["skipped"]
    elif kind == "peak":
        outcome.peaks[event["contestant"], event["measure"]] = event["bytes"]
    else:
        outcome.rows.append(event)
