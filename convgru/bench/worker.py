"""The process of one contest: ``python -m convgru.bench.worker RESULT``, the task as JSON on stdin.

What happens is appended to RESULT, one line of JSON an event, so that whoever started the process
knows what it was at if it ends early.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from convgru import registry
from convgru.bench import memory, numpy_room
from convgru.bench.contest import CONVGRU, PRECISIONS, Contest, Entry
from convgru.bench.timing import Sampler, alternate, sample, timed
from convgru.bench.workloads import Workload
from convgru.errors import UnsupportedError

MEASURES = ("forward", "training")
Tell = Callable[..., None]


def main() -> None:
    """Run the task on stdin."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    task = json.loads(sys.stdin.read())
    with open(sys.argv[1], "a", encoding="utf-8") as file:

        def tell(**event: Any) -> None:
            print(json.dumps(event), file=file, flush=True)

        work(task, tell)


def _end_with_parent(parent: int) -> None:
    """End this process soon after its parent, which if it is killed cannot do so itself."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def work(task: Mapping[str, Any], tell: Tell) -> None:
    """Make the contest of a task, and time its contestants or measure the memory of one."""
    if task["threads"] is not None and hasattr(os, "sched_setaffinity"):  # XLA asks for no number of threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["threads"]])
    room: Any = numpy_room if task["backend"] == "numpy" else registry.room(task["backend"], "bench")
    only = None if task["only"] is None else frozenset(task["only"])
    without, variants = frozenset(task["without"]), task["variants"]
    contest = Contest(
        task["backend"], Workload.from_json(task["workload"]), task["cell"], variants, only, without, task["compiled"],
        task.get("device", "cpu"), task.get("precision", "float32"),
    )  # fmt: skip
    tell(event="begin", contestant="all", measure="preparation")
    room.enter(contest)
    if task["memory_limit"] is not None:
        memory.limit(task["memory_limit"])
    versions = {"numpy": np.__version__}
    if task["backend"] != "numpy":
        versions |= registry.get(task["backend"]).versions()
    tell(event="entered", versions=versions | contest.versions, skipped=contest.skipped)
    if task["peak"]:
        for name, entry in contest.entries.items():
            _measure_peak(name, entry, tell)
    else:
        sampler = room.sampler(contest) if contest.device != "cpu" else sample
        _compete(contest, task["runs"], task["patience"], tell, sampler)


def _compete(contest: Contest, runs: int, patience: float, tell: Tell, sampler: Sampler = sample) -> None:
    """Call every contestant once and compare its numbers with ours, then time them in turn."""
    want: Mapping[str, np.ndarray] = {}
    first: dict[str, dict[str, float]] = {measure: {} for measure in MEASURES}
    extra: dict[str, dict[str, Any]] = {}
    entries = contest.entries
    for name in entries:
        with _Reporting(name, tell) as stage:
            extra[name] = {"error": None}
            entry = entries[name]
            results: dict[str, Any] = dict.fromkeys(MEASURES)
            for measure, call in _calls(entry).items():
                stage(measure)
                results[measure], first[measure][name] = timed(call)
            arrays = None if entry.arrays is None else entry.arrays(results["forward"], results["training"])
            want = want or (arrays if name == CONVGRU and arrays is not None else {})
            if arrays is not None and want:
                error = extra[name]["error"] = difference(arrays, want)
                if not error <= PRECISIONS[contest.precision]:
                    raise WrongNumbersError(f"off by {error:.1e} of the largest number")
            if entry.saved_bytes is not None:
                extra[name]["saved_bytes"] = entry.saved_bytes()
        if stage.failed:  # what it could do before is timed all the same, unless its numbers are others
            others = MEASURES if stage.wrong else MEASURES[MEASURES.index(stage.measure) :]
            for measure in others:
                first[measure].pop(name, None)
    frames = contest.workload.time if contest.workload.streaming else 1
    for measure in MEASURES:
        calls = {name: _calls(entries[name])[measure] for name in first[measure]}
        samples = alternate(calls, runs, patience, sampler, partial(_tell_who_begins, tell, measure))
        for name in calls:
            peak = entries[name].peak_bytes
            row = {"samples": [seconds / frames for seconds in samples[name]], "first": first[measure][name]}
            row |= {"peak_bytes": None if peak is None else peak(measure)} | extra[name]
            if measure == "forward":
                row.pop("saved_bytes", None)
            tell(event="row", contestant=name, measure=measure, status="ok", **row)


def _calls(entry: Entry) -> dict[str, Callable[[], Any]]:
    named = {"forward": entry.forward, "training": entry.training}
    return {measure: call for measure, call in named.items() if call is not None}


def _tell_who_begins(tell: Tell, measure: str, name: str) -> None:
    tell(event="begin", contestant=name, measure=measure)


def difference(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> float:
    """Return max|got − want| / max|want|, the largest over the arrays that both have."""
    worst = 0.0
    if "output" not in got:
        raise WrongNumbersError(f"no output, only {', '.join(sorted(got)) or 'nothing'}")
    for name in got.keys() & want.keys():
        a, b = (np.asarray(arrays[name], np.float64) for arrays in (got, want))
        if a.shape != b.shape:
            raise WrongNumbersError(f"{name} of shape {a.shape}, not {b.shape}")
        error = float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30))
        if not (error <= worst or np.isnan(worst)):  # NaN is the worst, and stays
            worst = error
    return worst


class WrongNumbersError(Exception):
    """A contestant computes something else."""


class _Reporting:
    """Turn what a contestant raises into a row for the measure that it was at."""

    def __init__(self, name: str, tell: Tell) -> None:
        self.name, self.tell, self.measure = name, tell, "forward"
        self.failed = self.wrong = False

    def __enter__(self) -> Any:
        self.stage("forward")
        return self

    def __call__(self, measure: str) -> None:
        self.stage(measure)

    def stage(self, measure: str) -> None:
        self.measure = measure
        self.tell(event="begin", contestant=self.name, measure=measure)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self.failed = True
        text = f"{type(error).__name__}: {error}".strip()
        status = "failed"
        if isinstance(error, WrongNumbersError):
            status, text, self.wrong = "wrong numbers", str(error), True
        elif isinstance(error, UnsupportedError):
            status, text = "skipped", str(error)
        elif isinstance(error, MemoryError) or memory.ran_out(text):
            status = "out of memory"
        self.tell(event="row", contestant=self.name, measure=self.measure, status=status, reason=text[:500])
        return True


def _measure_peak(name: str, entry: Entry, tell: Tell) -> None:
    """Call each measure once: how far the process's memory rises above what it was before."""
    before = memory.begin()
    for measure, call in _calls(entry).items():
        with contextlib.suppress(Exception):  # the timing has a row that says why
            tell(event="begin", contestant=name, measure=measure)
            call()
            tell(event="peak", contestant=name, measure=measure, bytes=memory.peak() - before)


if __name__ == "__main__":
    main()
