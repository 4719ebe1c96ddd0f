"""Canonical tensors of an older system's parameters, in both modes and with gradients."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops

from convgru.importers.plan import Block, Plan

Move = tuple[str, int, int, int, int, bool]
"""Foreign name, rows from and to, columns from and to (both 0: there are no columns), and whether
the sign turns.
"""


def moves(plan: Plan) -> tuple[tuple[str, tuple[Move, ...]], ...]:
    """A plan of slices and signs as constants of a graph: canonical name -> a move for each block.

    Raises ValueError for a plan with sums, folded norms or permutations, which no drop-in here has.
    """
    return tuple((name, tuple(_move(name, block) for block in blocks)) for name, blocks in plan.items())


def _move(name: str, block: Block) -> Move:
    terms = block.terms
    if len(terms) != 1 or not terms[0].is_exact or terms[0].form not in ("oik", "o") or terms[0].groups != 1:
        raise ValueError(f"{name} expected one slice for each block, got {terms}")
    term = terms[0]
    left, right = 0, 0
    if term.columns is not None:
        left = term.columns.start
        right = term.columns.stop if term.columns.stop is not None else left + block.shape[1]
    return (term.name, term.rows.start, term.rows.stop, left, right, term.negative)


def canonical(moves: Any, parameters: Any) -> Any:
    """The canonical tensors by name; ``parameters`` are the older system's by their own names."""
    arrays = {}
    for name, blocks in moves:
        parts = []
        for foreign, top, bottom, left, right, negative in blocks:
            part = parameters[foreign][top:bottom]
            if right > 0:
                part = part[:, left:right]
            parts.append(-part if negative else part)
        arrays[name] = mops.concat(parts, 0)
    return arrays
