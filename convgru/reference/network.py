"""One call of a network in NumPy float64: check and complete its arguments, then compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from convgru.calls import ArrayInfo, Caller, CallSizes, Extras
from convgru.reference import loop, ops
from convgru.spec import ForecasterSpec, Spec
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

Arrays = Mapping[str, np.ndarray]


def complete_state(spec: Spec, x: np.ndarray, state: Any = None) -> tuple[Any, ...]:
    """The given state in float64, checked against the input; zeros for None."""
    caller, sizes = called(spec, x)
    shapes = caller.state(state, sizes)
    if state is not None:
        leaves = {name: as_float64(spec.title, name, a) for name, a in state_leaves(spec, state)}
    else:
        leaves = {name: np.zeros(shape) for name, shape in state_leaves(spec, shapes)}
    return nest_state(spec, leaves)


def complete_extras(spec: Spec, x: np.ndarray, extras: Extras, steps: int | None = None) -> Extras:
    """The extras in float64, checked against the input."""
    _check_extras(spec, x, extras, steps)
    masks = extras.masks
    return replace(
        extras,
        context=None if extras.context is None else [as_float64(spec.title, "context", a) for a in extras.context],
        masks=None if masks is None else {name: as_float64(spec.title, name, a) for name, a in masks.items()},
        targets=None if extras.targets is None else as_float64(spec.title, "targets", extras.targets),
        forced=None if extras.forced is None else np.asarray(extras.forced, dtype=bool),
    )


def called(spec: Spec, x: np.ndarray) -> tuple[Caller, CallSizes]:
    """Return the checker for this call and its sizes; ``x`` is (T, B, C, *S) of any real dtype."""
    caller = Caller(spec.title, spec, "TBCS", _describe, accepts=lambda expected, given: True)
    return caller, caller.input(x, "float64")


def _describe(value: Any) -> ArrayInfo | None:
    return ArrayInfo(value.shape, str(value.dtype)) if hasattr(value, "shape") and hasattr(value, "dtype") else None


def _check_extras(spec: Spec, x: np.ndarray, extras: Extras, steps: int | None) -> None:
    """Check the optional arguments. Raises TypeError for one that the network does not take."""
    forecaster = isinstance(spec, ForecasterSpec)
    for name in extras.given:
        if (name in ("targets", "forced", "resume")) != forecaster:
            raise TypeError(f"{spec.title} expected no {name}")
    caller, sizes = called(spec, x)
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
    on_state: Callable[[Any], Any] | None = None,
) -> tuple[list[np.ndarray], tuple[Any, ...]]:
    """Compute the outputs of all layers and the final state, without checks.

    Arrays may be complex, carry further leading axes, or be ``convgru.reference.tape.Tensor``.
    ``leaves``, if given, replace the context's arrays; ``ops`` and ``on_state`` are those of
    ``loop.Call``.
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
    call = loop.Call(extras.lengths, context, masks, ops, on_state)
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
    """Everything that has a gradient: ``x``, ``state.0.h`` …, ``context.0`` …, every parameter."""
    arrays = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    return {"x": x, **dict(state_leaves(weights.spec, state)), **extras.leaves(), **arrays}


def as_float64(owner: str, what: str, array: Any) -> np.ndarray:
    """The array in float64. Raises TypeError for what does not hold real numbers."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiuV" or (array.dtype.kind == "V" and array.dtype.name != "bfloat16"):
        raise TypeError(f"{owner} expected {what} to hold real numbers, got dtype {array.dtype}")
    return np.asarray(array, np.float64)
