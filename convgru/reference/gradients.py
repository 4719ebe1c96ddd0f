"""Gradients of the reference by one reverse pass, with or without disturbed operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from convgru.calls import Extras
from convgru.reference.network import as_float64, complete_extras, complete_state, compute, leaves_of
from convgru.reference.tape import Tensor, backward
from convgru.reference.taped_ops import TapedOps
from convgru.spec import Spec
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

Arrays = Mapping[str, np.ndarray]


def gradient(
    weights: Weights,
    x: Any,
    state: Any,
    cotangents: tuple[Any, Any],
    *,
    steps: int | None = None,
    extras: Extras = Extras(),  # noqa: B008 - frozen
) -> dict[str, np.ndarray]:
    """Gradient of sum(cotangents · (output, final state)) with respect to every leaf, in float64.

    Args:
        weights: the network.
        x: (T, B, C, *S).
        state: the initial state; None for zeros, with respect to which there is a gradient too.
        cotangents: what weighs the output, and the final state, each of the same shapes.
        steps: how many frames a forecaster predicts.
        extras: the other arguments of the call.

    Returns:
        The gradients by name: ``x``, ``state.0.h`` …, ``context.0`` …, and every parameter.
    """
    x = as_float64(weights.spec.title, "x", x)
    extras = complete_extras(weights.spec, x, extras, steps)
    leaves = leaves_of(weights, x, complete_state(weights.spec, x, state), extras)
    _, gradients = taped(weights.spec, leaves, cotangents, steps, extras)
    return {name: copies[0] for name, copies in gradients.items()}


def taped(
    spec: Spec,
    leaves: Arrays,
    cotangents: tuple[Any, Any] | None,
    steps: int | None,
    extras: Extras,
    ops: TapedOps | None = None,
    copies: int = 1,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Results (``output``, ``state.0.h`` …) and gradients of every leaf, for ``copies`` runs.

    The copies are a leading axis of every array.

    Args:
        spec: the network.
        leaves: all arrays, as ``leaves_of`` returns them.
        cotangents: weights of output and final state; None for no gradients.
        steps: a forecaster's horizon.
        extras: the optional arguments, completed by ``complete_extras``.
        ops: operations that may disturb each copy differently; plain ones if None.
        copies: size of the leading axis.
    """
    ops = TapedOps() if ops is None else ops
    tensors = {n: Tensor(np.broadcast_to(a, (copies, *a.shape)), extra=1.0) for n, a in leaves.items()}
    held: Any = tensors
    layers, final = compute(
        spec, held, held["x"], nest_state(spec, tensors), steps, extras, leaves=held, ops=ops, on_state=ops.round_state
    )
    tops: Any = layers[-1]
    results: dict[str, Tensor] = {"output": tops, **dict(state_leaves(spec, final))}
    gradients: dict[str, np.ndarray] = {}
    if cotangents is not None:
        weighed = {"output": cotangents[0], **dict(state_leaves(spec, cotangents[1]))}
        for name, result in results.items():
            if np.shape(weighed[name]) != result.shape[1:]:
                raise ValueError(
                    f"{spec.title} expected a cotangent of {name} of shape {result.shape[1:]}, got {np.shape(weighed[name])}"
                )
        pairs = [(result, np.asarray(weighed[name], np.float64)) for name, result in results.items()]
        slopes = backward(pairs, ops.rounding)
        gradients = {n: slopes[t] if t in slopes else np.zeros(t.shape) for n, t in tensors.items()}
    return {name: result.value for name, result in results.items()}, gradients
