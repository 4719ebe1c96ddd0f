"""The float64 reference: networks and their gradients in plain NumPy; and a float32 runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convgru.calls import Extras, flags
from convgru.reference import float32_ops, ops
from convgru.reference.gradients import gradient
from convgru.reference.network import as_float64, called, complete_extras, complete_state, compute, leaves_of
from convgru.spec import ForecasterSpec, Spec
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

__all__ = ["complete_extras", "complete_state", "compute", "gradient", "leaves_of", "run"]


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
    dtype: Any = "float64",
) -> tuple[Any, tuple[Any, ...]]:
    """Run a network in NumPy: in float64, the reference, or in float32, many times faster.

    Args:
        weights: The network.
        x: Input (T, B, C, *S).
        state: Initial state, one entry for each layer and direction, h or (h, c), of shape (B, H,
            *S); None for zeros.
        lengths: (B,), valid frames of each sample. Past its end the output is zero, and its final
            state is the one after its last valid frame.
        context: For each layer and direction (B, G·H, *S) or (T, B, G·H, *S), added to the
            pre-activations.
        masks: Of dropout and zoneout, named as ``convgru.spec.shapes.mask_shapes`` says.
        return_all_layers: Return a tuple of every layer's output instead of the last one's.
        last_only: Return the output of the last valid frame alone, (B, H, *S); zeros if there is
            none.
        steps: How many frames a forecaster predicts; required there.
        targets: (steps, B, C, *S), a forecaster's true frames.
        forced: (steps, B) of bool; where true, the next step reads the target, not the prediction.
        resume: Continue an earlier forecast: x is its last frame (1, B, C, *S), predicted or true,
            and ``state`` the state that it returned.
        dtype: What to compute in, whatever dtype weights and input have: ``"float64"``, or
            ``"float32"`` for a runtime that needs no framework. Its results keep within the budgets
            of parity.

    Returns:
        Output (T, B, H, *S), or a forecaster's frames (steps, B, C, *S), and the final state.

    Raises:
        ValueError: an argument has the wrong size; the message says what was expected and what
            came; ``dtype`` is neither of the two.
        TypeError: an argument is of the wrong kind.
    """
    spec, operations = weights.spec, _operations(dtype)
    flags(spec.title, return_all_layers=return_all_layers, last_only=last_only)
    if isinstance(spec, ForecasterSpec) and last_only:
        raise TypeError("Forecaster expected no last_only: take the last of its frames")
    if isinstance(spec, ForecasterSpec) and return_all_layers:
        raise TypeError("Forecaster expected no return_all_layers")
    x = as_float64(spec.title, "x", x)
    extras = Extras(None if lengths is None else np.asarray(lengths), context, masks, targets, forced, resume)
    begin = complete_state(spec, x, state)
    if isinstance(spec, ForecasterSpec):
        caller, sizes = called(spec, x)
        caller.resume(resume, state, sizes)
    extras = complete_extras(spec, x, extras, steps)
    if operations is float32_ops:
        x, begin, extras = _to_float32(spec, x, begin, extras)
    arrays = {name: array.astype(x.dtype) for name, array in weights.arrays.items()}
    layers, final = compute(spec, arrays, x, begin, steps, extras, ops=operations)
    if last_only:
        layers = [_last(layer, extras.lengths) for layer in layers]
    return (tuple(layers) if return_all_layers else layers[-1]), final


def _operations(dtype: Any) -> Any:
    """Return the module of operations for a dtype, given as NumPy takes it."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in ("float64", "float32"):
        raise ValueError(f"reference.run dtype expected 'float64' or 'float32', got {dtype!r}")
    return ops if name == "float64" else float32_ops


def _to_float32(spec: Spec, x: np.ndarray, state: Any, extras: Extras) -> tuple[np.ndarray, Any, Extras]:
    """Round the arguments of a call to float32."""

    def change(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float32)

    leaves = {name: change(leaf) for name, leaf in state_leaves(spec, state)}
    masks = None if extras.masks is None else {name: change(mask) for name, mask in extras.masks.items()}
    context = None if extras.context is None else [change(array) for array in extras.context]
    targets = None if extras.targets is None else change(extras.targets)
    return change(x), nest_state(spec, leaves), replace(extras, masks=masks, context=context, targets=targets)


def _last(y: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Last valid frame of each sample of y (T, B, …); zeros if there is none."""
    if lengths is None:
        return np.asarray(y[-1])
    frames = [y[n - 1, b] if n else np.zeros_like(y[0, b]) for b, n in enumerate(lengths)]
    return np.stack(frames)
