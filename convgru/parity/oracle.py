"""Solve a problem with the float64 reference, and compare a backend with the solution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from convgru.parity.budget import HALF, Budget, budget, eps_of, error, exactly
from convgru.parity.cases import Problem
from convgru.parity.module import Module
from convgru.parity.report import Row
from convgru.registry import Backend
from convgru.spec.shapes import state_leaves
from convgru.weights import Weights

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Solution:
    """A problem with the reference's answer.

    Attributes:
        case: what the report calls it.
        problem: weights and arguments, rounded to a dtype.
        steps: a forecaster's horizon.
        results: ``output`` and the final states ``state.0.h`` …
        gradients: of every leaf by name; empty where none are to be compared.
        budget: how far a backend may be from them.
        demanding: whether a budget that zeros would keep within is a failure; not with half
            precision and TF32, whose budgets are wide.
    """

    case: str
    problem: Problem
    steps: int | None
    results: Arrays
    gradients: Arrays
    budget: Budget
    demanding: bool = True


def solve(
    case: str, problem: Problem, steps: int | None = None, *, gradients: bool = True, tf32: bool = False
) -> Solution:
    """Compute results, gradients and budgets of a problem with the float64 reference."""
    exact = exactly(problem, steps, gradients=gradients)
    allowed = budget(problem, steps, tf32=tf32, exact=exact)
    dtype = str(problem.weights.dtype)
    demanding = dtype not in HALF and eps_of(dtype, tf32) == eps_of(dtype)
    return Solution(case, problem, steps, exact.results, exact.gradients, allowed, demanding)


def compare(
    solution: Solution, runner: Backend | Module, name: str, device: str = "cpu", weights: Weights | None = None
) -> list[Row]:
    """Run a backend on the problem: one row each for output, states and gradients.

    Args:
        solution: the problem and the reference's answer.
        runner: the backend.
        name: what the report calls it.
        device: where it computes.
        weights: run these instead of the problem's, so that a fault can be planted.

    Returns:
        Of each quantity the row of the array with the largest ratio of error to budget.

    Raises:
        TypeError: a result is not a NumPy array.
        ValueError: a result has the wrong shape, or a gradient is missing.
        UnsupportedError: the backend cannot compute this.
    """
    problem = solution.problem
    y, final, gradients = runner.execute(
        weights or problem.weights,
        problem.x,
        problem.state,
        steps=solution.steps,
        extras=problem.extras,
        cotangents=problem.cotangents if solution.gradients else None,
        device=device,
    )

    row = partial(_row, solution, name, device)
    results = {"output": y, **dict(state_leaves(problem.weights.spec, final))}
    allowed = solution.budget
    rows = [row("output", "output", results, solution.results, allowed.forward)]
    states = [leaf for leaf in solution.results if leaf != "output"]
    rows.append(_worst(row("state", leaf, results, solution.results, allowed.forward) for leaf in states))
    if solution.gradients:
        slopes = (
            row("gradient", leaf, gradients, solution.gradients, allowed.gradients[leaf]) for leaf in allowed.gradients
        )
        rows.append(_worst(slopes))
    return rows


def _row(
    solution: Solution, name: str, device: str, quantity: str, leaf: str, got: Arrays, want: Arrays, allowed: float
) -> Row:
    """Judge one array of a backend's results; raises as ``compare``."""
    dtype = solution.problem.x.dtype
    if leaf not in got:
        raise ValueError(f"{name} returned no {quantity} of {leaf}")
    if not isinstance(got[leaf], np.ndarray):
        raise TypeError(f"{quantity} of {leaf}: expected a NumPy array, got {type(got[leaf]).__name__}")
    array = np.asarray(got[leaf])  # of a subclass the plain numbers: it may compare as it likes
    if array.shape != want[leaf].shape:
        raise ValueError(f"{quantity} of {leaf}: expected shape {want[leaf].shape}, got {array.shape}")
    largest = float(np.abs(want[leaf]).max(initial=0.0))
    absolute = allowed * max(1.0, largest)
    blind = solution.demanding and absolute >= largest > 0
    off, reason = error(array, want[leaf]), ""
    if array.dtype != dtype:  # float32 may not pose as float64
        off, reason = float("inf"), f"dtype {array.dtype}, expected {dtype}"
    elif not np.isfinite(off):
        reason = "not finite"
    elif blind:
        reason = f"too ill-conditioned to compare (budget {absolute:.3g}, largest number {largest:.3g})"
    return Row(solution.case, name, str(dtype), device, quantity, leaf, off, allowed, reason, blind)


def _worst(rows: Iterable[Row]) -> Row:
    return max(rows, key=lambda row: row.rank)
