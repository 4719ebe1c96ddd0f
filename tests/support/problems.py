"""Random networks and calls, every number drawn from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np

import convgru
from convgru.parity.cases import Problem, make_problem, noisy
from convgru.spec.shapes import nest_state, state_leaves


def random_weights(spec: convgru.NetworkSpec | convgru.ForecasterSpec, seed: int = 0, dtype: str = "float64") -> Any:
    """Return ``Weights`` whose biases, norms and peepholes are random too."""
    return noisy(convgru.init(spec, seed, "float64"), seed).astype(dtype)


def random_problem(
    spec: Any, size: tuple[int, ...], dtype: str = "float64", *, seed: int = 0, **options: Any
) -> Problem:
    """Return random weights, input (T, B, C, *S), initial state and cotangents.

    The options are those of ``make_problem``.
    """
    return make_problem(random_weights(spec, seed), size, dtype, seed=seed, **options)


def channels_last(spec: Any, state: Any) -> Any:
    """Return a state of arrays (B, H, *S) as one of arrays (B, *S, H)."""
    leaves = {name: np.moveaxis(np.asarray(leaf), 1, -1) for name, leaf in state_leaves(spec, state)}
    return nest_state(spec, leaves)
