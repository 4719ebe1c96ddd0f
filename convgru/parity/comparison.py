"""Run networks on every backend, compare with the float64 reference, and report: error, budget, achieved over budget."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convgru import reference, registry
from convgru.errors import UnsupportedError
from convgru.parity import cases as problems
from convgru.parity import oracle
from convgru.parity import table as case_table
from convgru.parity.budget import HALF
from convgru.parity.cases import Case
from convgru.parity.faults import CAUGHT, CONTROLS, FAULTS, Control, plant
from convgru.parity.module import Module, as_module
from convgru.parity.oracle import Solution, solve
from convgru.parity.report import Report
from convgru.spec import ForecasterSpec
from convgru.spec.shapes import fitting_size, nest_state, state_leaves
from convgru.weights import Weights

Progress = Callable[[int, int, str], None]
DTYPES = ("float32", "float64")


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
    progress: Progress | None = None,
) -> Report:
    """Compare backends with the float64 reference on a table of cases.

    A backend that cannot compute a dtype on the device stands in the report with its reason; if ``backends`` named it, the
    report fails.

    Args:
        cases: which cases; None for the whole table.
        backends: names of backends. None for all that are installed, or none where there is a ``module``.
        module: a network of your own, as ``convgru.parity.Module`` takes it, or where to import it: "package.module:name".
            It may decline cases, which then stand in the report; one at least must run.
        dtypes: one or more of float32, float64, float16 and bfloat16.
        device: "cpu", or another of the backends' devices.
        gradients: whether gradients are compared too.
        controls: whether faults are planted on purpose, each of which must miss its budget ten times over.
        fault: plant this one in every case, to see the comparison fail.
        tf32: leave TF32 on, and widen the budget to its eps.
        cache: a folder in which JAX keeps its compiled programs for the next run.
        progress: called with the number of problems done, their total, and what comes next.
    """
    chosen = list(cases) if cases is not None else case_table.table()
    dtypes = [dtypes] if isinstance(dtypes, str) else dtypes
    if fault is not None and fault not in FAULTS:
        raise ValueError(f"fault expected one of {', '.join(map(repr, FAULTS))}, got {fault!r}")
    comparison = _Comparison(backends, module, device, tf32)
    if not comparison.runners:
        return comparison.report  # which fails: nothing was compared
    jobs = [(case, dtype) for dtype in dtypes for case in chosen]
    with comparison.settings(cache):
        for done, (case, dtype) in enumerate(jobs):
            if progress is not None:
                progress(done, len(jobs), f"{case.name} {dtype}")
            problem = problems.problem(case, dtype)
            faulty = plant(fault, problem.weights) if fault is not None else None
            if fault is not None and faulty is None:
                continue  # this cell has nothing to break in that way
            solution = solve(case.name, problem, case.steps, gradients=gradients and fault is None, tf32=tf32)
            comparison.add(solution, faulty)
        if controls and fault is None:
            for dtype in dtypes:
                if dtype not in HALF:
                    comparison.add_controls(chosen, dtype)
    if progress is not None:
        progress(len(jobs), len(jobs), "done")
    return comparison.report


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
        size: the spatial size of random input; about 16 in every dimension if None.
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
    comparison = _Comparison(backends, module, device, tf32)
    with comparison.settings(cache):
        comparison.add(solve("given weights", problem, steps, gradients=gradients, tf32=tf32))
    return comparison.report


class _Comparison:
    """What is compared, and the report that grows."""

    def __init__(self, backends: Sequence[str] | str | None, module: Any, device: str, tf32: bool) -> None:
        self.device, self.tf32 = device, tf32
        self.report = Report(device=device, tf32=tf32, platform=f"{platform.system()} {platform.machine()}")
        self.report.versions = {"python": platform.python_version(), "numpy": np.__version__}
        named: list[str] = [backends] if isinstance(backends, str) else list(backends or ())
        self.runners: dict[str, Any] = {}
        if module is not None:
            given = as_module(module)
            self.runners[given.name] = given
        elif backends is None:
            self._find_installed()
        for name in named:
            self.runners[name] = registry.get(name)
        self.report.backends = list(self.runners)
        self.report.requested = [name for name in self.runners if name in named or module is not None]
        for runner in self.runners.values():
            self.report.versions.update(runner.versions())

    def _find_installed(self) -> None:
        for name, backend in registry.available().items():
            if isinstance(backend, str):
                self.report.absent[name] = backend
            else:
                self.runners[name] = backend

    def settings(self, cache: str | Path | None) -> ExitStack:
        """Within it float32 means float32, unless TF32 was asked for, and compiled programs are kept in ``cache``."""
        stack = ExitStack()
        for runner in self.runners.values():
            if not self.tf32:
                stack.enter_context(runner.precise())
            if cache is not None and hasattr(runner, "compiled_in"):
                stack.enter_context(runner.compiled_in(Path(cache)))
        return stack

    def add(self, solution: Solution, faulty: Weights | None = None) -> None:
        """Rows of every backend for one problem."""
        for name in self.runners:
            self.report.rows.extend(self._rows(name, solution, faulty))

    def _rows(self, name: str, solution: Solution, faulty: Weights | None) -> list[Any]:
        """Rows of one backend; none if it cannot compute this, or if somebody's module breaks, which the report then says."""
        runner, key = self.runners[name], f"{name} {solution.problem.weights.dtype} {self.device}"
        if not isinstance(runner, Module):
            try:
                return oracle.compare(solution, runner, name, self.device, faulty)
            except UnsupportedError as reason:
                self.report.unsupported[key] = str(reason)
                return []
        if not runner.differentiates:
            solution = replace(solution, gradients={}, budget=replace(solution.budget, gradients={}))
        try:
            return oracle.compare(solution, runner, name, self.device, faulty)
        except UnsupportedError as reason:
            if faulty is None:
                self.report.declined[f"{key} {solution.case}"] = str(reason)
        except Exception as broken:  # whatever somebody's code does, the other cases are still worth a look
            self.report.errors[f"{key} {solution.case}"] = f"{type(broken).__name__}: {broken}"
        return []

    def add_controls(self, cases: Sequence[Case], dtype: str) -> None:
        """Plant each fault once and see that every backend's comparison misses."""
        table = {case.name: case for case in case_table.table()}
        solutions: dict[str, Solution] = {}
        ran = {(row.backend, row.case) for row in self.report.rows}
        for fault, case_name in CONTROLS.items():
            for name, runner in self.runners.items():
                usual = [table[case_name]]
                if isinstance(runner, Module):  # which may have declined the usual case
                    usual = [case for case in (*usual, *cases) if (name, case.name) in ran]
                for case in usual:
                    if case.name not in solutions:
                        problem = problems.problem(case, dtype)
                        solutions[case.name] = solve(case.name, problem, case.steps, gradients=False, tf32=self.tf32)
                    faulty = plant(fault, solutions[case.name].problem.weights)
                    rows = [] if faulty is None else self._rows(name, solutions[case.name], faulty)
                    if rows:
                        ratio = rows[0].ratio
                        self.report.controls.append(Control(fault, case.name, name, dtype, ratio, ratio >= CAUGHT))
                        break
