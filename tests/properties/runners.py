"""Run a network of arrays on each installed backend; compiled once for each spec and shape."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

import convgru
from convgru import registry
from convgru.calls import Extras
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

INSTALLED = [name for name, found in registry.available().items() if not isinstance(found, str)]
COMPILING = ("jax", "flax")


def run(name: str, weights: Weights, x: np.ndarray, state: Any = None, **options: Any) -> tuple[np.ndarray, Any]:
    """Output (T, B, C, *S) and final state (B, H, *S) of the public module or function.

    The options are ``lengths`` and ``context``.
    """
    backend = registry.get(name)
    with backend.precise():
        if name in COMPILING:
            return _compiled(name, weights, x, state, **options)
        y, final, _ = backend.execute(weights, x, state, extras=Extras(**options))
        return y, final


def _compiled(name: str, weights: Weights, x: np.ndarray, state: Any, lengths: Any = None, context: Any = None) -> Any:
    import jax

    spec = weights.spec
    with jax.enable_x64(weights.dtype == "float64"):
        given = {leaf: np.moveaxis(array, 1, -1) for leaf, array in state_leaves(spec, state)}
        if context is not None:
            context = [np.moveaxis(array, 2, -1) for array in context]
        network = (spec, dict(weights.arrays)) if name == "jax" else _split(weights)
        y, final = _call(name)(*network, np.moveaxis(x, 2, -1), nest_state(spec, given), lengths, context)
        leaves = {leaf: np.moveaxis(np.asarray(array), -1, 1) for leaf, array in state_leaves(spec, final)}
        return np.moveaxis(np.asarray(y), -1, 2), nest_state(spec, leaves)


def _split(weights: Weights) -> tuple[Any, Any]:
    from flax import nnx

    found: tuple[Any, Any] = nnx.split(convgru.build(weights, "flax", time_major=True, deterministic=True))
    return found


@lru_cache
def _call(name: str) -> Any:
    """What JAX compiles: its first argument, a spec or a graph definition, is static."""
    import jax

    def jax_call(spec: Any, params: Any, x: Any, state: Any, lengths: Any, context: Any) -> Any:
        return convgru.jax.apply(spec, params, x, state, lengths=lengths, context=context)

    def flax_call(graphdef: Any, params: Any, x: Any, carry: Any, lengths: Any, context: Any) -> Any:
        from flax import nnx

        return nnx.merge(graphdef, params)(x, carry, seq_lengths=lengths, context=context)

    return jax.jit({"jax": jax_call, "flax": flax_call}[name], static_argnums=0)
