"""The oracle: networks in NumPy float64, slow and plain, with derivatives by complex step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from convgru import equations, numpy_ops
from convgru.shapes import check_input, check_state, check_steps, nest_state, state_leaves, state_shapes
from convgru.spec import ForecasterSpec, Spec
from convgru.weights import Weights

Arrays = Mapping[str, np.ndarray]
STEP = 1e-30
"""Imaginary step of the derivatives: far below rounding, so that nothing is lost (Squire and Trapp 1998)."""
CHUNK = 1 << 21
"""How many complex numbers of perturbed outputs to hold at once."""


def run(weights: Weights, x: Any, state: Any = None, *, steps: int | None = None) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Run a network on x (T, B, C, *S) in float64: output (T, B, H, *S) and final state.

    ``state`` None means zeros; else one entry for each layer, h or (h, c), of shape (B, H, *S). A forecaster needs
    ``steps`` and returns that many predicted frames. Raises ValueError or TypeError, naming what was expected and what came.
    """
    x = _float64(weights.spec.title, "x", x)
    arrays = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    return compute(weights.spec, arrays, x, complete_state(weights.spec, x, state), steps)


def complete_state(spec: Spec, x: np.ndarray, state: Any = None) -> tuple[Any, ...]:
    """The given state in float64, checked against the input; zeros for None."""
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, "TBCS")
    shapes = state_shapes(spec, batch, size)
    if state is not None:
        check_state(spec.title, shapes, state)
        leaves = {name: _float64(spec.title, name, a) for name, a in state_leaves(spec, state)}
    else:
        leaves = {name: np.zeros(shape) for name, shape in state_leaves(spec, shapes)}
    return nest_state(spec, leaves)


def compute(
    spec: Spec,
    arrays: Arrays,
    x: np.ndarray,
    state: tuple[Any, ...],
    steps: int | None = None,
    *,
    ops: Any = numpy_ops,
    settle: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """``run`` without its checks: arrays may be complex and may carry further leading axes.

    ``ops`` may be a perturbed version of numpy_ops and ``settle`` a function applied to every new state: that is how
    the conditioning of a network is measured.
    """
    ndim = spec.ndim
    frames = [np.moveaxis(frame, -(ndim + 1), -1) for frame in np.moveaxis(x, -(ndim + 3), 0)]
    leaves = {name: np.moveaxis(array, -(ndim + 1), -1) for name, array in state_leaves(spec, state)}
    loop = _Loop(spec, arrays, nest_state(spec, leaves), ops, settle)
    if isinstance(spec, ForecasterSpec):
        check_steps(spec.title, steps)
        assert steps is not None
        outputs = _forecast(spec, arrays, frames, steps, loop)
    elif steps is not None:
        raise TypeError(f"{spec.title} expected no steps: only a forecaster has a horizon, got steps={steps!r}")
    else:
        outputs = [loop(frame) for frame in frames]
    y = np.stack([np.moveaxis(out, -1, -(ndim + 1)) for out in np.broadcast_arrays(*outputs)], axis=-(ndim + 3))
    final = {name: np.moveaxis(array, -1, -(ndim + 1)) for name, array in state_leaves(spec, loop.state)}
    return y, nest_state(spec, final)


class _Loop:
    """The layers and their states; a call takes one frame through all of them."""

    def __init__(self, spec: Spec, arrays: Arrays, state: tuple[Any, ...], ops: Any, settle: Any) -> None:
        network, prefix = (spec.encoder, "encoder.") if isinstance(spec, ForecasterSpec) else (spec, "")
        self.layers = network.layers
        self.params = [numpy_ops.prepare(cell, arrays, index, prefix) for index, cell in enumerate(self.layers)]
        self.state, self.ops, self.settle = state, ops, settle

    def __call__(self, x: np.ndarray) -> np.ndarray:
        entries: list[Any] = []
        for cell, p, entry in zip(self.layers, self.params, self.state, strict=True):
            parts: tuple[np.ndarray, ...] = entry if isinstance(entry, tuple) else (entry,)
            gates_x = equations.input_gates(self.ops, cell, p, x)
            parts = equations.step_of(cell)(self.ops, cell, p, gates_x, parts)
            if self.settle is not None:
                parts = tuple(map(self.settle, parts))
            entries.append(parts[0] if len(parts) == 1 else parts)
            x = parts[0]
        self.state = tuple(entries)
        return x


def _forecast(
    spec: ForecasterSpec, arrays: Arrays, frames: Sequence[np.ndarray], steps: int, loop: _Loop
) -> list[np.ndarray]:
    readout = numpy_ops.prepare_readout(spec, arrays)
    top = [loop(numpy_ops.patch(frame, spec.patch)) for frame in frames][-1]
    predictions = [equations.readout(loop.ops, spec, readout, top, frames[-1])]
    for _ in range(steps - 1):
        top = loop(numpy_ops.patch(predictions[-1], spec.patch))
        predictions.append(equations.readout(loop.ops, spec, readout, top, predictions[-1]))
    return predictions


def leaves_of(weights: Weights, x: np.ndarray, state: tuple[Any, ...]) -> dict[str, np.ndarray]:
    """Everything that a gradient may be taken with respect to, by name: ``x``, ``state.0.h`` …, each parameter."""
    arrays = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    return {"x": x, **dict(state_leaves(weights.spec, state)), **arrays}


def gradient(
    weights: Weights, x: Any, state: Any, cotangents: tuple[Any, Any], *, steps: int | None = None
) -> dict[str, np.ndarray]:
    """Gradient of sum(cotangents · (output, final state)) by complex step, elementwise, for every leaf.

    One run for each number: for small networks. For large ones see ``derivatives``.
    """
    x = _float64(weights.spec.title, "x", x)
    state = complete_state(weights.spec, x, state)
    leaves = leaves_of(weights, x, state)
    width = max(1, CHUNK // max(1, cotangents[0].size * 16))
    found: dict[str, np.ndarray] = {}
    for name, leaf in leaves.items():
        parts = []
        for start in range(0, leaf.size, width):
            units = np.eye(min(width, leaf.size - start), leaf.size, start)
            direction = {name: units.reshape(-1, *leaf.shape)}
            parts.append(_derivatives(weights.spec, leaves, direction, cotangents, steps))
        found[name] = np.concatenate(parts).reshape(leaf.shape)
    return found


def derivatives(
    weights: Weights,
    x: Any,
    state: Any,
    cotangents: tuple[Any, Any],
    directions: Mapping[str, np.ndarray],
    *,
    steps: int | None = None,
) -> dict[str, np.ndarray]:
    """Derivatives of sum(cotangents · (output, final state)) along directions[name] (D, *shape), for each name: (D,) numbers."""
    x = _float64(weights.spec.title, "x", x)
    leaves = leaves_of(weights, x, complete_state(weights.spec, x, state))
    return {
        name: np.concatenate(
            [_derivatives(weights.spec, leaves, {name: one[None]}, cotangents, steps) for one in direction]
        )
        for name, direction in directions.items()
    }


def _derivatives(
    spec: Spec, leaves: Arrays, directions: Arrays, cotangents: tuple[Any, Any], steps: int | None
) -> np.ndarray:
    moved: dict[str, np.ndarray] = dict(leaves)
    for name, direction in directions.items():
        moved[name] = leaves[name] + STEP * 1j * direction
    count = len(next(iter(directions.values())))
    y, final = compute(spec, moved, moved["x"], nest_state(spec, moved), steps)
    total = _contract(y, cotangents[0], count)
    weighed = dict(state_leaves(spec, cotangents[1]))
    for name, array in state_leaves(spec, final):
        total = total + _contract(array, weighed[name], count)
    return total


def _contract(result: np.ndarray, cotangent: Any, count: int) -> np.ndarray:
    """Sum of imaginary part times cotangent, for each of the leading perturbations."""
    parts = (np.imag(result) / STEP).reshape(-1, prod(np.shape(cotangent)))
    return np.broadcast_to(parts @ np.asarray(cotangent, np.float64).ravel(), (count,))


def _float64(owner: str, what: str, array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "fiuV" or (array.dtype.kind == "V" and array.dtype.name != "bfloat16"):
        raise TypeError(f"{owner} expected {what} to hold real numbers, got dtype {array.dtype}")
    return np.asarray(array, np.float64)


__all__ = ["complete_state", "compute", "derivatives", "gradient", "leaves_of", "run"]
