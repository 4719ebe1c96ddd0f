"""Tasks of a comparison: run the backends on some cases or planted faults, and report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convgru import registry
from convgru.errors import UnsupportedError
from convgru.parity import cases as problems
from convgru.parity import oracle
from convgru.parity import table as case_table
from convgru.parity.cases import Case
from convgru.parity.faults import CAUGHT, CONTROLS, Control, plant
from convgru.parity.module import Module, as_module
from convgru.parity.oracle import Solution, solve
from convgru.parity.report import Report, Row
from convgru.weights import Weights

QUICK = ("float64",)
"""The dtypes in which ``quick`` lets XLA leave out optimisation. float64 judges the equations, with
or without it; the programs that users run compute in float32.
"""


XLA = ("jax", "flax")
"""The backends whose programs XLA compiles."""


@dataclass(frozen=True)
class Settings:
    """Options of a comparison; see the arguments of ``convgru.parity.run``."""

    backends: tuple[str, ...] | None = None
    module: Any = None
    device: str = "cpu"
    gradients: bool = True
    fault: str | None = None
    tf32: bool = False
    cache: Path | None = None
    quick: bool = False


def compiles(settings: Settings) -> bool:
    """Whether XLA compiles what is to run: a backend of ``XLA``, or a module with JAX's arrays."""
    if settings.module is not None and as_module(settings.module).tensors == "jax":
        return True
    backends = settings.backends or (XLA if settings.module is None else ())
    return any(name in XLA for name in backends)


def _unoptimised(runners: dict[str, Any], dtype: str) -> list[str]:
    """What XLA compiles here without optimising it, whoever wanted that."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.config.read("jax_disable_most_optimizations"):
        return []
    return [
        f"{name} {dtype}" for name, runner in runners.items() if name in XLA or vars(runner).get("tensors") == "jax"
    ]


def compare_cases(settings: Settings, cases: Sequence[Case], dtype: str) -> Report:
    """Run every backend on cases in one dtype, with the settings' fault planted if there is one."""
    runners, report = _begin(settings)
    gradients = settings.gradients and settings.fault is None
    if not runners:
        return report
    report.unoptimised += _unoptimised(runners, dtype)
    with _around(settings, runners):
        for case in cases:
            problem = problems.problem(case, dtype)
            faulty = plant(settings.fault, problem.weights) if settings.fault is not None else None
            if settings.fault is not None and faulty is None:
                continue  # this cell has nothing to break in that way
            solution = solve(case.name, problem, case.steps, gradients=gradients, tf32=settings.tf32)
            for name, runner in runners.items():
                report.rows += _rows(report, solution, runner, name, faulty)
    return report


def compare_solution(settings: Settings, solution: Solution) -> Report:
    """Run every backend on one problem whose solution is known."""
    runners, report = _begin(settings)
    with _around(settings, runners):
        for name, runner in runners.items():
            report.rows += _rows(report, solution, runner, name)
    return report


def compare_faults(settings: Settings, cases: Sequence[Case], dtype: str, faults: Sequence[str]) -> Report:
    """Plant each of these faults once on every backend, and record whether it is caught.

    Backends run the case that ``CONTROLS`` names; a user's module the first of ``cases`` that it
    computes.
    """
    runners, report = _begin(settings)
    table = {case.name: case for case in case_table.table()}
    with _around(settings, runners):
        for fault in faults:
            for name, runner in runners.items():
                for case in cases if isinstance(runner, Module) else [table[CONTROLS[fault]]]:
                    problem = problems.problem(case, dtype)
                    faulty = plant(fault, problem.weights)
                    if faulty is None:
                        continue
                    solution = solve(case.name, problem, case.steps, gradients=False, tf32=settings.tf32)
                    rows = _rows(report, solution, runner, name, faulty)
                    if rows:
                        ratio = rows[0].ratio
                        report.controls.append(Control(fault, case.name, name, dtype, ratio, ratio >= CAUGHT))
                        break
    return report


def _begin(settings: Settings) -> tuple[dict[str, Any], Report]:
    """Look up the backends by name, and start a report."""
    report = Report.empty(settings.device, settings.tf32)
    runners: dict[str, Any] = {}
    if settings.module is not None:
        module = as_module(settings.module)
        runners[module.name] = module
    elif settings.backends is None:
        for name, backend in registry.available().items():
            if isinstance(backend, str):
                report.absent[name] = backend
            else:
                runners[name] = backend
    for name in settings.backends or ():
        runners[name] = registry.get(name)
    report.backends = list(runners)
    report.requested = list(runners) if settings.module is not None else list(settings.backends or ())
    for name, runner in runners.items():
        report.versions.update(runner.versions())
        report.devices[name] = _described_device(runner, settings.device)
    return runners, report


def _device(runner: Any, name: str) -> str:
    """The device of a backend that is meant: of ``cuda`` its first GPU, if it sees one."""
    if name != "cuda" or isinstance(runner, Module):
        return name
    return next((device for device in runner.devices() if device.startswith("cuda")), name)


def _described_device(runner: Any, name: str) -> str:
    """The same with what the backend says of it."""
    device = _device(runner, name)
    if isinstance(runner, Module) or device == "cpu":
        return device
    return f"{device}, {runner.devices().get(device, 'which it does not see')}"


@contextmanager
def _around(settings: Settings, runners: dict[str, Any]) -> Iterator[None]:
    """Settings in force during a task: TF32, compile cache."""
    with ExitStack() as stack:
        for runner in runners.values():
            if not settings.tf32:
                stack.enter_context(runner.precise())
            if settings.cache is not None and hasattr(runner, "compiled_in"):
                stack.enter_context(runner.compiled_in(settings.cache))
        yield


def _rows(report: Report, solution: Solution, runner: Any, name: str, faulty: Weights | None = None) -> list[Row]:
    """Rows of one backend; if it cannot compute the problem, no rows and a reason in the report."""
    device = _device(runner, report.device)
    key = f"{name} {solution.problem.weights.dtype} {device}"
    if not isinstance(runner, Module):
        try:
            return oracle.compare(solution, runner, name, device, faulty)
        except UnsupportedError as reason:
            report.unsupported[key] = str(reason)
            return []
    if not runner.differentiates:
        solution = replace(solution, gradients={}, budget=replace(solution.budget, gradients={}))
    try:
        return oracle.compare(solution, runner, name, device, faulty)
    except UnsupportedError as reason:
        if faulty is None:
            report.declined[f"{key} {solution.case}"] = str(reason)
    except (Exception, SystemExit) as broken:  # whatever a user's code does, go on with the others
        report.errors[f"{key} {solution.case}"] = f"{type(broken).__name__}: {broken}"
    return []
