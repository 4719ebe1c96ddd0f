"""Compare backends with the float64 reference, on the table of cases or on given weights."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from convgru import reference
from convgru.parity import cases as problems
from convgru.parity import table as case_table
from convgru.parity.budget import HALF
from convgru.parity.cases import Case
from convgru.parity.faults import CONTROLS, FAULTS
from convgru.parity.module import as_module
from convgru.parity.oracle import solve
from convgru.parity.processes import Task, workers
from convgru.parity.report import Report
from convgru.parity.tasks import QUICK, Settings, compare_cases, compare_faults, compare_solution, compiles
from convgru.spec import ForecasterSpec
from convgru.spec.shapes import fitting_size, nest_state, state_leaves
from convgru.weights import Weights

Progress = Callable[[int, int, str], None]
"""Called with the number of problems done, their total, and which was the last of them."""
DTYPES = ("float32", "float64")
"""What is compared unless a call says otherwise."""
CHUNK = 4
"""Number of cases in a task."""


def run(
    cases: Iterable[Case] | None = None,
    *,
    backends: Sequence[str] | None = None,
    module: Any = None,
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    gradients: bool = True,
    controls: bool = True,
    fault: str | None = None,
    tf32: bool = False,
    cache: str | Path | None = None,
    jobs: int = 1,
    quick: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Compare backends with the float64 reference on a table of cases.

    A backend that cannot compute a dtype on the device is reported with the reason; the report
    fails only if ``backends`` names it.

    Args:
        cases: Which cases; None for the whole table.
        backends: Names of backends; None for all that are installed, or for none if there is a
            ``module``.
        module: A network of your own, as ``convgru.parity.Module`` takes it, or the path to import
            it from: "package.module:name". It may decline cases; at least one must run.
        dtypes: One or more of float32, float64, float16 and bfloat16.
        device: "cpu", "cuda", which is each backend's first GPU, or another of its devices.
        gradients: Whether gradients are compared too.
        controls: Whether to plant faults on purpose, each of which must miss its budget ten times
            over.
        fault: Plant this one in every case, to see the comparison fail.
        tf32: Leave TF32 on, and widen the budget to its eps.
        cache: A folder in which JAX keeps its compiled programs for the next run.
        jobs: Number of processes. With more than one, a script must call this below ``if __name__
            == "__main__"``, and ``module`` must be picklable; a path always is.
        quick: Let XLA leave out optimisation in float64, so that JAX and Flax take an eighth of the
            time; the report says so. These cases run in processes of their own even if ``jobs`` is
            one.
        progress: Called with the number of problems done, their total, and which was the last.
    """
    chosen = list(cases) if cases is not None else case_table.table()
    dtypes = [dtypes] if isinstance(dtypes, str) else dtypes
    if not dtypes:
        raise ValueError(f"dtypes expected one or more of {', '.join(map(repr, (*DTYPES, *HALF)))}, got {dtypes!r}")
    if fault is not None and fault not in FAULTS:
        raise ValueError(f"fault expected one of {', '.join(map(repr, FAULTS))}, got {fault!r}")
    if jobs < 1:
        raise ValueError(f"jobs expected a positive number of processes, got {jobs}")
    if module is not None:
        as_module(module)  # what is no network of the user's is said before processes start
    settings = _settings(backends, module, device, gradients, tf32, cache, fault, quick)
    total, done = len(chosen) * len(dtypes), 0
    tell = progress or (lambda done, total, text: None)
    report = Report.empty(device, tf32)
    for group, quickly in _groups(settings, dtypes):
        with closing(_parts(settings, chosen, group, jobs, quickly, controls and fault is None)) as parts:
            for count, text, part in parts:
                report.add(part)
                done += count
                tell(done, total, text)
                if not part.backends:
                    return report  # which fails: nothing was compared
    tell(total, total, "done")
    return report


def _groups(settings: Settings, dtypes: Sequence[str]) -> list[tuple[list[str], bool]]:
    """Which dtypes share their processes, and whether these compile quickly."""
    quick = QUICK if settings.quick and compiles(settings) else ()
    groups = [([name for name in dtypes if (name in quick) == each], each) for each in (False, True)]
    return [group for group in groups if group[0]]


def _parts(
    settings: Settings, cases: Sequence[Case], dtypes: Sequence[str], jobs: int, quick: bool, controls: bool
) -> Generator[tuple[int, str, Report], None, None]:
    """Yield how many cases were compared, the last of them, and their report; then planted faults.

    Closing the generator ends its processes.
    """
    chunks = [(cases[i : i + CHUNK], dtype) for dtype in dtypes for i in range(0, len(cases), CHUNK)]
    chunks = chunks or [([], dtypes[0])]  # says which backends there are
    faults = list(CONTROLS)
    planted = [
        (faults[i : i + CHUNK], dtype) for dtype in dtypes if dtype not in HALF for i in range(0, len(faults), CHUNK)
    ]
    tasks: list[Task] = [partial(compare_cases, settings, part, dtype) for part, dtype in chunks]
    ran: set[str] = set()
    with workers(min(jobs, max(len(tasks), len(planted))), quick=quick) as share:
        for (part, dtype), report in zip(chunks, share(tasks), strict=True):
            ran |= {row.case for row in report.rows}
            yield len(part), f"{part[-1].name} {dtype}" if part else "", report
        if not controls or not ran:
            return
        usable = [case for case in cases if case.name in ran]
        for report in share([partial(compare_faults, settings, usable, dtype, names) for names, dtype in planted]):
            yield 0, "planted faults", report


def compare(
    weights: Weights,
    x: Any = None,
    *,
    size: Sequence[int] | None = None,
    state: Any = None,
    steps: int | None = None,
    backends: Sequence[str] | None = None,
    module: Any = None,
    dtype: str | None = None,
    device: str = "cpu",
    gradients: bool = True,
    tf32: bool = False,
    cache: str | Path | None = None,
    seed: int = 0,
) -> Report:
    """Compare backends with the float64 reference on given weights.

    Args:
        weights: the network.
        x: its input (T, B, C, *S); None for random numbers.
        size: the spatial size of random input; about 16 in every dimension if None. Not with ``x``.
        state: the initial state; None for zeros.
        steps: how many frames a forecaster predicts; three if None.
        backends: as in ``run``.
        module: as in ``run``.
        dtype: what weights and input are rounded to; None for the weights' own.
        device: as in ``run``.
        gradients: as in ``run``.
        tf32: as in ``run``.
        cache: as in ``run``.
        seed: of the random numbers.
    """
    if not isinstance(weights, Weights):
        raise TypeError(f"compare expected convgru.Weights, got {type(weights).__name__}; extract(net) makes them")
    if x is not None and size is not None:
        raise ValueError(f"compare expected x, or the size of a random one, got both: {np.shape(x)} and {size}")
    spec = weights.spec
    if isinstance(spec, ForecasterSpec) and steps is None:
        steps = 3
    size = fitting_size(spec, 16) if size is None else tuple(size)
    dtype = str(weights.dtype) if dtype is None else dtype
    array = None if x is None else np.asarray(x)
    problem = problems.make_problem(weights, size, dtype, steps=steps, state=False, seed=seed, x=array)
    if state is not None:
        given = reference.complete_state(spec, problem.x, state)
        leaves = {name: leaf.astype(problem.x.dtype) for name, leaf in state_leaves(spec, given)}
        problem = replace(problem, state=nest_state(spec, leaves))
    settings = _settings(backends, module, device, gradients, tf32, cache)
    return compare_solution(settings, solve("given weights", problem, steps, gradients=gradients, tf32=tf32))


def _settings(
    backends: Sequence[str] | None,
    module: Any,
    device: str,
    gradients: bool,
    tf32: bool,
    cache: str | Path | None,
    fault: str | None = None,
    quick: bool = False,
) -> Settings:
    named = (backends,) if isinstance(backends, str) else None if backends is None else tuple(backends)
    if named == () and module is None:
        raise ValueError(f"backends expected one or more names, or None for all that are installed, got {backends!r}")
    folder = None if cache is None else Path(cache)
    return Settings(named, module, device, gradients, fault, tf32, folder, quick)
