"""The float64 reference: networks in NumPy, slow and plain, and their gradients."""

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
    """Run a network on x (T, B, C, *S) in float64: output (T, B, H, *S) and final state.

    ``state`` None means zeros; else one entry for each layer and direction, h or (h, c), of shape (B, H, *S). The other arguments
    are those of ``convgru.calls.Extras``. With ``lengths`` the output is zero past a sample's end, and the final state is the one
    after its last valid frame. ``return_all_layers`` gives a tuple of every layer's output, ``last_only`` the output of the last
    (valid) frame alone, (B, H, *S), zeros where there is none. A forecaster needs ``steps`` and returns that many predicted
    frames; with ``resume`` it goes on from a call before: x is the last frame (1, B, C, *S), predicted or true, and ``state`` what that call returned.
    Raises ValueError or TypeError, naming what was expected and what came.
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
    """Each sample's last valid frame of y (T, B, …); zeros where there is none, as y holds past the end."""
    if lengths is None:
        return np.asarray(y[-1])
    frames = [y[n - 1, b] if n else np.zeros_like(y[0, b]) for b, n in enumerate(lengths)]
    return np.stack(frames)
