"""Run networks on every backend, compare with the float64 reference, and report: error, budget, achieved over budget."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from convgru import reference, registry
from convgru.parity import budget as budgets
from convgru.parity import cases as problems
from convgru.parity import table as case_table
from convgru.parity.cases import Case, Problem
from convgru.parity.faults import CONTROLS, FAULTS, Control, plant
from convgru.parity.report import Report, Row
from convgru.spec.shapes import fitting_size, nest_state, state_leaves
from convgru.weights import Weights

Progress = Callable[[int, int, str], None]
DTYPES = ("float32", "float64")
DIRECTIONS = 8
CAUGHT = 10.0
"""A planted fault must miss the budget by this factor."""


class Oracle:
    """What the float64 reference says of one problem: results, gradients and budget."""

    def __init__(self, problem: Problem, steps: int | None, *, elementwise: bool, gradients: bool, tf32: bool) -> None:
        self.problem, self.steps = problem, steps
        weights, spec, state = problem.weights, problem.weights.spec, problem.state
        x = problem.x.astype(np.float64)
        extras = reference.complete_extras(spec, x, problem.extras, steps)
        start = reference.complete_state(spec, x, state)
        self.leaves = reference.leaves_of(weights, x, start, extras)
        layers, final = reference.compute(spec, self.leaves, x, start, steps, extras)
        self.output, self.final = layers[-1], dict(state_leaves(spec, final))
        self.budget = budgets.budget(problem, steps, tf32=tf32)
        if state is None:
            self.leaves = {name: leaf for name, leaf in self.leaves.items() if not name.startswith("state.")}
        self.directions: dict[str, np.ndarray] | None = None
        self.gradients: dict[str, np.ndarray] = {}
        if gradients and elementwise:
            self.gradients = reference.gradient(weights, x, state, problem.cotangents, steps=steps, extras=extras)
        elif gradients:
            rng = np.random.default_rng(0)
            self.directions = {n: rng.standard_normal((DIRECTIONS, *a.shape)) for n, a in self.leaves.items()}
            self.gradients = reference.derivatives(
                weights, x, state, problem.cotangents, self.directions, steps=steps, extras=extras
            )

    def gradient_error(self, name: str, got: np.ndarray) -> float:
        """Error of one leaf's gradient: elementwise, or of its derivatives along the random directions."""
        if got.shape != self.leaves[name].shape:
            raise ValueError(f"gradient of {name} expected shape {self.leaves[name].shape}, got {got.shape}")
        if got.dtype != self.problem.x.dtype:
            return float("inf")
        if self.directions is not None:
            got = np.tensordot(self.directions[name], got.astype(np.float64), axes=got.ndim)
        return budgets.error(got, self.gradients[name])

    def error(self, got: np.ndarray, want: np.ndarray) -> float:
        """``budget.error``; infinite where the result is not of the problem's dtype: float32 may not pose as float64."""
        return budgets.error(got, want) if got.dtype == self.problem.x.dtype else float("inf")

    def rows(self, case: str, backend: str, device: str, weights: Weights | None = None) -> list[Row]:
        """Run one backend on the problem (or on other weights, where a fault is planted) and compare."""
        cotangents = self.problem.cotangents if self.gradients else None
        y, final, gradients = registry.get(backend).execute(
            weights or self.problem.weights,
            self.problem.x,
            self.problem.state,
            steps=self.steps,
            extras=self.problem.extras,
            cotangents=cotangents,
            device=device,
        )
        found = {"output": self.error(y, self.output)}
        spec = self.problem.weights.spec
        states = {n: self.error(a, self.final[n]) for n, a in state_leaves(spec, final)}
        slopes = {n: self.gradient_error(n, gradients[n]) for n in self.leaves} if cotangents is not None else {}
        dtype, allowed = str(self.problem.weights.dtype), self.budget
        rows = [Row(case, backend, dtype, device, "output", "output", found["output"], allowed.forward)]
        for quantity, errors, limit in (("state", states, allowed.forward), ("gradient", slopes, allowed.gradient)):
            if errors:
                worst = max(errors, key=lambda name: errors[name])
                rows.append(Row(case, backend, dtype, device, quantity, worst, errors[worst], limit))
        return rows


def run(
    cases: Iterable[Case] | None = None,
    *,
    backends: Sequence[str] | None = None,
    dtypes: Sequence[str] = DTYPES,
    device: str = "cpu",
    gradients: bool = True,
    controls: bool = True,
    fault: str | None = None,
    tf32: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Compare every backend (default: all that are installed) with the reference on a table of cases (default: all).

    Negative controls, faults planted on purpose, must be caught, or the report is not ok; ``fault`` plants one in every
    case, to see the comparison fail. ``tf32`` leaves TF32 on and widens the budget to its eps. A backend that cannot
    compute a dtype on the device stands in the report with its reason; one that was asked for and compared nothing fails.
    """
    chosen = list(cases) if cases is not None else case_table.table()
    dtypes = [dtypes] if isinstance(dtypes, str) else dtypes
    if fault is not None and fault not in FAULTS:
        raise ValueError(f"fault expected one of {', '.join(map(repr, FAULTS))}, got {fault!r}")
    report = _start(backends, device, tf32)
    if not report.backends:
        return report  # which fails: nothing was compared
    jobs = [(case, dtype) for dtype in dtypes for case in chosen]
    for done, (case, dtype) in enumerate(jobs):
        if progress is not None:
            progress(done, len(jobs), f"{case.name} {dtype}")
        problem = problems.problem(case, dtype)
        faulty = plant(fault, problem.weights) if fault is not None else problem.weights
        if faulty is None:
            continue  # this cell has nothing to break in that way
        oracle = Oracle(
            problem, case.steps, elementwise=case.elementwise, gradients=gradients and fault is None, tf32=tf32
        )
        _compare(report, oracle, case.name, device, tf32, faulty)
    if controls and fault is None:
        for dtype in dtypes:
            if dtype not in budgets.HALF:
                _controls(report, dtype, device, tf32)
    if progress is not None:
        progress(len(jobs), len(jobs), "done")
    return report


def compare(
    weights: Weights,
    x: Any = None,
    *,
    size: Sequence[int] | None = None,
    state: Any = None,
    steps: int | None = None,
    backends: Sequence[str] | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    gradients: bool = True,
    tf32: bool = False,
    seed: int = 0,
) -> Report:
    """Compare every backend with the reference on anybody's weights, on x (T, B, C, *S) or on random input of ``size``.

    Gradients are compared along random directions. ``dtype`` defaults to that of the weights. The default size is about 16 in
    every dimension, and a forecaster's ``steps`` three.
    """
    from convgru.spec import ForecasterSpec

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
        problem = Problem(problem.weights, problem.x, nest_state(spec, leaves), problem.cotangents)
    report = _start(backends, device, tf32)
    oracle = Oracle(problem, steps, elementwise=False, gradients=gradients, tf32=tf32)
    _compare(report, oracle, "given weights", device, tf32, problem.weights)
    return report


def _start(backends: Sequence[str] | None, device: str, tf32: bool) -> Report:
    """An empty report that says what will be compared, with what versions, and what is not there."""
    if isinstance(backends, str):
        backends = [backends]
    report = Report(device=device, tf32=tf32, platform=f"{platform.system()} {platform.machine()}")
    report.versions = {"python": platform.python_version(), "numpy": np.__version__}
    for name, backend in registry.available().items():
        if backends is not None and name not in backends:
            continue
        if isinstance(backend, str):
            if backends is not None:
                raise ImportError(backend)
            report.absent[name] = backend
            continue
        report.backends.append(name)
        report.versions.update(backend.versions())
    for name in backends or ():
        registry.get(name)
    return report


def _compare(report: Report, oracle: Oracle, case: str, device: str, tf32: bool, weights: Weights) -> None:
    for name in report.backends:
        with nullcontext() if tf32 else registry.get(name).precise():
            try:
                report.rows.extend(oracle.rows(case, name, device, weights))
            except registry.UnsupportedError as reason:
                report.unsupported[f"{name} {weights.dtype} {device}"] = str(reason)


def _controls(report: Report, dtype: str, device: str, tf32: bool) -> None:
    """Plant each fault once and see that every backend's comparison misses."""
    by_name = {case.name: case for case in case_table.table()}
    for control, case_name in CONTROLS.items():
        case = by_name[case_name]
        problem = problems.problem(case, dtype)
        faulty = plant(control, problem.weights)
        assert faulty is not None
        oracle = Oracle(problem, case.steps, elementwise=False, gradients=False, tf32=tf32)
        for name in report.backends:
            with nullcontext() if tf32 else registry.get(name).precise():
                try:
                    rows = oracle.rows(case_name, name, device, faulty)
                except registry.UnsupportedError as reason:
                    report.unsupported[f"{name} {dtype} {device}"] = str(reason)
                    continue
            ratio = rows[0].ratio
            report.controls.append(Control(control, case_name, name, dtype, ratio, ratio >= CAUGHT))
