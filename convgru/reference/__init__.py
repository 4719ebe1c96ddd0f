"""The float64 reference: networks and their gradients in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from convgru.calls import Extras
from convgru.reference.gradients import gradient
from convgru.reference.network import as_float64, called, complete_extras, complete_state, compute, leaves_of
from convgru.spec import ForecasterSpec
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
) -> tuple[Any, tuple[Any, ...]]:
    """Run a network in float64.

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

    Returns:
        Output (T, B, H, *S), or a forecaster's frames (steps, B, C, *S), and the final state.

    Raises:
        ValueError: an argument has the wrong size; the message says what was expected and what
            came.
        TypeError: an argument is of the wrong kind.
    """
    spec = weights.spec
    x = as_float64(spec.title, "x", x)
    extras = Extras(None if lengths is None else np.asarray(lengths), context, masks, targets, forced, resume)
    arrays = {name: array.astype(np.float64) for name, array in weights.arrays.items()}
    begin = complete_state(spec, x, state)
    if isinstance(spec, ForecasterSpec):
        caller, sizes = called(spec, x)
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
    """Last valid frame of each sample of y (T, B, …); zeros if there is none."""
    if lengths is None:
        return np.asarray(y[-1])
    frames = [y[n - 1, b] if n else np.zeros_like(y[0, b]) for b, n in enumerate(lengths)]
    return np.stack(frames)
