"""Solve a problem with the float64 reference, and compare a backend with the solution."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from convgru.parity.budget import Budget, budget, error, exactly
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
    """

    case: str
    problem: Problem
    steps: int | None
    results: Arrays
    gradients: Arrays
    budget: Budget


def solve(
    case: str, problem: Problem, steps: int | None = None, *, gradients: bool = True, tf32: bool = False
) -> Solution:
    """Compute results, gradients and budgets of a problem with the float64 reference."""
    exact = exactly(problem, steps, gradients=gradients)
    allowed = budget(problem, steps, tf32=tf32, exact=exact)
    return Solution(case, problem, steps, exact.results, exact.gradients, allowed)


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

    def row(quantity: str, leaf: str, got: Arrays, want: Arrays, allowed: float) -> Row:
        if leaf not in got:
            raise ValueError(f"{name} returned no {quantity} of {leaf}")
        if got[leaf].shape != want[leaf].shape:
            raise ValueError(f"{quantity} of {leaf}: expected shape {want[leaf].shape}, got {got[leaf].shape}")
        off, reason = error(got[leaf], want[leaf]), ""
        if got[leaf].dtype != problem.x.dtype:  # float32 may not pose as float64
            off, reason = float("inf"), f"dtype {got[leaf].dtype}, expected {problem.x.dtype}"
        elif not np.isfinite(off):
            reason = "not finite"
        return Row(solution.case, name, str(problem.x.dtype), device, quantity, leaf, off, allowed, reason)

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


def _worst(rows: Iterable[Row]) -> Row:
    return max(rows, key=lambda row: row.rank)
