"""Initial parameters with JAX's own random numbers, in the distributions of
``convgru.initialization.init``.
"""

from __future__ import annotations

from math import prod
from typing import Any

import jax
from jax import numpy as jnp

from convgru.errors import UnsupportedError
from convgru.initialization import cell_of
from convgru.spec import GATES, CellSpec, Spec
from convgru.spec.shapes import parameter_shapes
from convgru.weights import dtype_of


def initial_arrays(spec: Spec, key: jax.Array, dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    """Initial parameters by canonical name, each gate and group drawn by itself.

    weight_ih and a readout are Glorot uniform, weight_hh orthogonal, biases zero but for the forget
    gate's, which is one; peepholes zero, norms one and zero. Raises WeightsError for a dtype that
    weights cannot have, UnsupportedError for float64 while JAX has it switched off.
    """
    name = str(dtype_of(jnp.dtype(dtype)))
    if str(jax.dtypes.canonicalize_dtype(name)) != name:
        raise UnsupportedError(
            f"{spec.title} expected a dtype that JAX computes in, got float64, which needs jax.config.update('jax_enable_x64', True)"
        )
    shapes = parameter_shapes(spec)
    keys = jax.random.split(key, len(shapes))
    wide = jnp.float64 if name == "float64" else jnp.float32
    parts = zip(keys, shapes.items(), strict=True)
    drawn = {path: _initial(k, path, shape, cell_of(spec, path), wide) for k, (path, shape) in parts}
    return {path: array.astype(name) for path, array in drawn.items()}


def _initial(key: jax.Array, path: str, shape: tuple[int, ...], cell: CellSpec | None, dtype: Any) -> jax.Array:
    part = path.rpartition(".")[2]
    if cell is None:
        return _glorot(key, shape, dtype) if part == "weight" else jnp.zeros(shape, dtype)
    if part in ("weight_ih", "weight_hh"):
        draw, blocks = (_glorot if part == "weight_ih" else _orthogonal), cell.gates * cell.groups
        own = (shape[0] // blocks, *shape[1:])
        return jnp.concatenate([draw(k, own, dtype) for k in jax.random.split(key, blocks)])
    array = jnp.ones(shape, dtype) if part == "norm_weight" else jnp.zeros(shape, dtype)
    if part == "bias" and cell.cell == "lstm":
        start = GATES["lstm"].index("f") * cell.hidden_channels
        array = array.at[start : start + cell.hidden_channels].set(1)
    return array


def _glorot(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    bound = (6 / ((shape[0] + shape[1]) * prod(shape[2:]))) ** 0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    q, r = jnp.linalg.qr(jax.random.normal(key, (prod(shape[1:]), shape[0]), dtype))
    return (q * jnp.sign(jnp.diagonal(r))).T.reshape(shape)
