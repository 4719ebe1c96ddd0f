"""Derivatives of the reference by complex step: slow, but free of differentiation rules.

f(p + i·step) = f(p) + i·step·f'(p) + O(step²): the imaginary part over the step is the derivative,
exact to rounding (Squire and Trapp 1998). The reverse pass of ``convgru.reference.gradients`` is
checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from convgru.calls import Extras
from convgru.reference.network import as_float64, complete_extras, complete_state, compute, leaves_of
from convgru.spec import Spec
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

Arrays = Mapping[str, np.ndarray]
STEP = 1e-30
"""Imaginary step of the derivatives: far below rounding, so that nothing is lost."""
CHUNK = 1 << 21
"""Most complex numbers of perturbed outputs to hold at once."""


def gradient(
    weights: Weights,
    x: Any,
    state: Any,
    cotangents: tuple[Any, Any],
    *,
    steps: int | None = None,
    extras: Extras = Extras(),  # noqa: B008 - frozen
) -> dict[str, np.ndarray]:
    """Gradient of sum(cotangents · (output, final state)) by complex step, for every leaf.

    Takes one run for each number, so it suits small networks; for large ones see ``derivatives``.
    """
    x = as_float64(weights.spec.title, "x", x)
    extras = complete_extras(weights.spec, x, extras, steps)
    leaves = leaves_of(weights, x, complete_state(weights.spec, x, state), extras)
    width = max(1, CHUNK // max(1, cotangents[0].size * 16))
    gradients: dict[str, np.ndarray] = {}
    for name, leaf in leaves.items():
        parts = []
        for start in range(0, leaf.size, width):
            units = np.eye(min(width, leaf.size - start), leaf.size, start)
            direction = {name: units.reshape(-1, *leaf.shape)}
            parts.append(_derivatives(weights.spec, leaves, direction, cotangents, steps, extras))
        gradients[name] = np.concatenate(parts).reshape(leaf.shape)
    return gradients


def derivatives(
    weights: Weights,
    x: Any,
    state: Any,
    cotangents: tuple[Any, Any],
    directions: Mapping[str, np.ndarray],
    *,
    steps: int | None = None,
    extras: Extras = Extras(),  # noqa: B008 - frozen
) -> dict[str, np.ndarray]:
    """Derivatives of sum(cotangents · (output, final state)) along given directions.

    ``directions[name]`` is (D, *shape of the leaf); the result has D numbers for each name.
    """
    x = as_float64(weights.spec.title, "x", x)
    extras = complete_extras(weights.spec, x, extras, steps)
    leaves = leaves_of(weights, x, complete_state(weights.spec, x, state), extras)
    return {
        name: np.concatenate(
            [_derivatives(weights.spec, leaves, {name: one[None]}, cotangents, steps, extras) for one in direction]
        )
        for name, direction in directions.items()
    }


def _derivatives(
    spec: Spec, leaves: Arrays, directions: Arrays, cotangents: tuple[Any, Any], steps: int | None, extras: Extras
) -> np.ndarray:
    moved: dict[str, np.ndarray] = dict(leaves)
    for name, direction in directions.items():
        moved[name] = leaves[name] + STEP * 1j * direction
    count = len(next(iter(directions.values())))
    layers, final = compute(spec, moved, moved["x"], nest_state(spec, moved), steps, extras, leaves=moved)
    total = _contract(layers[-1], cotangents[0], count)
    weighed = dict(state_leaves(spec, cotangents[1]))
    for name, array in state_leaves(spec, final):
        total = total + _contract(array, weighed[name], count)
    return total


def _contract(result: np.ndarray, cotangent: Any, count: int) -> np.ndarray:
    """Sum of imaginary part times cotangent, for each of the leading perturbations."""
    parts = (np.imag(result) / STEP).reshape(-1, prod(np.shape(cotangent)))
    return np.broadcast_to(parts @ np.asarray(cotangent, np.float64).ravel(), (count,))
