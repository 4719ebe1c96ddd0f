"""The oracle: networks in NumPy float64, slow and plain, with derivatives by complex step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convgru.calls import ArrayInfo, Caller, CallSizes, Extras
from convgru.reference import loop, ops
from convgru.spec import ForecasterSpec, Spec
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

Arrays = Mapping[str, np.ndarray]
STEP = 1e-30
"""Imaginary step of the derivatives: far below rounding, so that nothing is lost (Squire and Trapp 1998)."""
CHUNK = 1 << 21
"""How many complex numbers of perturbed outputs to hold at once."""


def run(
    weights: Weights,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    context: Any = None,
    masks: Any = None,
    return_all_layers: bool = False,
    last_only: bool = False,
    steps: int | None = None,
    targets: Any = None,
    forced: Any = None,
    resume: bool = False,
) -> tuple[Any, tuple[Any, ...]]:
    """Run a network on x (T, B, C, *S) in float64: output (T, B, H, *S) and final state.

    ``state`` None means zeros; else one entry for each layer and direction, h or (h, c), of shape (B, H, *S). The other arguments
    are those of ``convgru.calls.Extras``. With ``lengths`` the output is zero past a sample's end, and the final state is the one
    after its last valid frame. ``return_all_layers`` gives a tuple of every layer's output, ``last_only`` the output of the last
    (valid) frame alone, (B, H, *S), zeros where there is none. A forecaster needs ``steps`` and returns that many predicted
    frames; with ``resume`` it goes on from a call before: x is the last frame (1, B, C, *S), predicted or true, and ``state`` what that call returned.
    Raises ValueError or TypeError, naming what was expected and what came.
    """
    spec = weights.spec
    x = _float64(spec.title, "x", x)
    extras = Extras(None if lengths is None else np.asarray(lengths), context, masks, targets, forced, resume)
    arrays = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    begin = complete_state(spec, x, state)
    if isinstance(spec, ForecasterSpec):
        caller, sizes = _called(spec, x)
        caller.resume(resume, state, sizes)
    layers, final = compute(spec, arrays, x, begin, steps, complete_extras(spec, x, extras, steps))
    if last_only:
        if isinstance(spec, ForecasterSpec):
            raise TypeError("Forecaster expected no last_only: take the last of its frames")
        layers = [_last(layer, extras.lengths) for layer in layers]
    if not return_all_layers:
        return layers[-1], final
    if isinstance(spec, ForecasterSpec):
        raise TypeError("Forecaster expected no return_all_layers")
    return tuple(layers), final


def _last(y: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Each sample's last valid frame of y (T, B, …); zeros where there is none, as y holds past the end."""
    if lengths is None:
        return np.asarray(y[-1])
    frames = [y[n - 1, b] if n else np.zeros_like(y[0, b]) for b, n in enumerate(lengths)]
    return np.stack(frames)


def complete_state(spec: Spec, x: np.ndarray, state: Any = None) -> tuple[Any, ...]:
    """The given state in float64, checked against the input; zeros for None."""
    caller, sizes = _called(spec, x)
    shapes = caller.state(state, sizes)
    if state is not None:
        leaves = {name: _float64(spec.title, name, a) for name, a in state_leaves(spec, state)}
    else:
        leaves = {name: np.zeros(shape) for name, shape in state_leaves(spec, shapes)}
    return nest_state(spec, leaves)


def complete_extras(spec: Spec, x: np.ndarray, extras: Extras, steps: int | None = None) -> Extras:
    """The extras in float64, checked against the input."""
    _check_extras(spec, x, extras, steps)
    masks = extras.masks
    return replace(
        extras,
        context=None if extras.context is None else [_float64(spec.title, "context", a) for a in extras.context],
        masks=None if masks is None else {name: _float64(spec.title, name, a) for name, a in masks.items()},
        targets=None if extras.targets is None else _float64(spec.title, "targets", extras.targets),
        forced=None if extras.forced is None else np.asarray(extras.forced, dtype=bool),
    )


def _called(spec: Spec, x: np.ndarray) -> tuple[Caller, CallSizes]:
    """The check of a call on x (T, B, C, *S), of whatever real dtype, and the sizes of the call."""
    caller = Caller(spec.title, spec, "TBCS", _describe, accepts=lambda expected, given: True)
    return caller, caller.input(x, "float64")


def _describe(value: Any) -> ArrayInfo | None:
    return ArrayInfo(value.shape, str(value.dtype)) if hasattr(value, "shape") and hasattr(value, "dtype") else None


def _check_extras(spec: Spec, x: np.ndarray, extras: Extras, steps: int | None) -> None:
    """Check every optional argument that is given. Raises TypeError for one that this kind of network does not take."""
    forecaster = isinstance(spec, ForecasterSpec)
    for name in extras.given:
        if (name in ("targets", "forced", "resume")) != forecaster:
            raise TypeError(f"{spec.title} expected no {name}")
    caller, sizes = _called(spec, x)
    if extras.lengths is not None:
        caller.lengths(extras.lengths, sizes)
    if extras.context is not None:
        caller.context(extras.context, sizes)
    if extras.masks is not None:
        caller.masks(extras.masks, sizes)
    if forecaster:
        caller.steps(steps)
        caller.targets(extras.targets, extras.forced, sizes, steps or 0)


def compute(
    spec: Spec,
    arrays: Arrays,
    x: np.ndarray,
    state: tuple[Any, ...],
    steps: int | None = None,
    extras: Extras = Extras(),  # noqa: B008 - frozen
    *,
    leaves: Arrays | None = None,
    ops: Any = ops,
    settle: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[list[np.ndarray], tuple[Any, ...]]:
    """``run`` without its checks, giving the outputs of all layers: arrays may be complex and may carry further leading axes.

    ``leaves``, if given, hold the context's arrays, perturbed; ``ops`` and ``settle`` as in ``convgru.reference.loop.Call``.
    """
    ndim = spec.ndim

    def last(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, -(ndim + 1), -1)

    def first(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, -1, -(ndim + 1))

    def split(array: np.ndarray) -> list[np.ndarray]:
        return list(np.moveaxis(last(array), -(ndim + 3), 0))

    context: list[list[np.ndarray]] | None = None
    if extras.context is not None:
        moved = [(leaves or extras.leaves())[f"context.{i}"] for i in range(len(extras.context))]
        timed = [array.ndim > ndim + 2 for array in extras.context]
        length = x.shape[-(ndim + 3)]
        context = [split(a) if many else [last(a)] * length for a, many in zip(moved, timed, strict=True)]
    masks = None if extras.masks is None else {name: last(array) for name, array in extras.masks.items()}
    call = loop.Call(extras.lengths, context, masks, ops, settle)
    begin = [tuple(map(last, entry)) if isinstance(entry, tuple) else (last(entry),) for entry in state]
    if isinstance(spec, ForecasterSpec):
        assert steps is not None
        targets = None if extras.targets is None else split(extras.targets)
        forced = (
            None if extras.forced is None else list(extras.forced.reshape(*extras.forced.shape, *(1,) * (ndim + 1)))
        )
        frames, end = loop.forecast(spec, arrays, split(x), steps, begin, call, targets, forced, extras.resume)
        layers = [frames]
    elif steps is not None:
        raise TypeError(f"{spec.title} expected no steps: only a forecaster has a horizon, got steps={steps!r}")
    else:
        layers, end = loop.run(spec, arrays, "", split(x), begin, call)
    outputs = [np.stack([first(out) for out in np.broadcast_arrays(*frames)], axis=-(ndim + 3)) for frames in layers]
    final = tuple(first(parts[0]) if len(parts) == 1 else tuple(map(first, parts)) for parts in end)
    return outputs, final


def leaves_of(
    weights: Weights,
    x: np.ndarray,
    state: tuple[Any, ...],
    extras: Extras = Extras(),  # noqa: B008 - frozen
) -> dict[str, np.ndarray]:
    """All that a gradient may be taken with respect to, by name: ``x``, ``state.0.h`` …, ``context.0`` …, each parameter."""
    arrays = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    return {"x": x, **dict(state_leaves(weights.spec, state)), **extras.leaves(), **arrays}


def gradient(
    weights: Weights,
    x: Any,
    state: Any,
    cotangents: tuple[Any, Any],
    *,
    steps: int | None = None,
    extras: Extras = Extras(),  # noqa: B008 - frozen
) -> dict[str, np.ndarray]:
    """Gradient of sum(cotangents · (output, final state)) by complex step, elementwise, for every leaf.

    One run for each number: for small networks. For large ones see ``derivatives``.
    """
    x = _float64(weights.spec.title, "x", x)
    extras = complete_extras(weights.spec, x, extras, steps)
    leaves = leaves_of(weights, x, complete_state(weights.spec, x, state), extras)
    width = max(1, CHUNK // max(1, cotangents[0].size * 16))
    found: dict[str, np.ndarray] = {}
    for name, leaf in leaves.items():
        parts = []
        for start in range(0, leaf.size, width):
            units = np.eye(min(width, leaf.size - start), leaf.size, start)
            direction = {name: units.reshape(-1, *leaf.shape)}
            parts.append(_derivatives(weights.spec, leaves, direction, cotangents, steps, extras))
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
    extras: Extras = Extras(),  # noqa: B008 - frozen
) -> dict[str, np.ndarray]:
    """Derivatives of sum(cotangents · (output, final state)) along directions[name] (D, *shape), for each name: (D,) numbers."""
    x = _float64(weights.spec.title, "x", x)
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


def _float64(owner: str, what: str, array: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "fiuV" or (array.dtype.kind == "V" and array.dtype.name != "bfloat16"):
        raise TypeError(f"{owner} expected {what} to hold real numbers, got dtype {array.dtype}")
    return np.asarray(array, np.float64)


__all__ = ["complete_state", "compute", "derivatives", "gradient", "leaves_of", "run"]
