"""Initial parameters with JAX's random numbers, in the distributions of ``convgru.init``."""

from __future__ import annotations

from math import prod
from typing import Any

import jax
from jax import numpy as jnp

from convgru.initialization import cell_of, recipe
from convgru.spec import Spec
from convgru.spec.shapes import parameter_shapes
from convgru_jax.checks import check_key, computed_dtype


def initial_arrays(spec: Spec, key: jax.Array, dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    """Draw initial parameters by canonical name, each as ``convgru.initialization.recipe`` says.

    Each gate and group is drawn by itself. Raises WeightsError for a dtype that weights cannot
    have, UnsupportedError for float64 while JAX has it switched off, TypeError for no key.
    """
    name = computed_dtype(spec.title, dtype)
    check_key(spec.title, key)
    shapes = parameter_shapes(spec)
    keys = jax.random.split(key, len(shapes))
    wide = jnp.float64 if name == "float64" else jnp.float32
    parts = zip(keys, shapes.items(), strict=True)
    drawn = {path: _initial(spec, k, path, shape, wide) for k, (path, shape) in parts}
    return {path: array.astype(name) for path, array in drawn.items()}


def _initial(spec: Spec, key: jax.Array, path: str, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    how = recipe(spec, path)
    if how.kind == "constant":
        array = jnp.full(shape, how.value, dtype)
        return array if how.rows is None else array.at[slice(*how.rows[:2])].set(how.rows[2])
    draw = _glorot if how.kind == "glorot" else _orthogonal
    if cell_of(spec, path) is None:  # a readout is one block, drawn from its key itself
        return draw(key, shape, dtype)
    block = (shape[0] // how.blocks, *shape[1:])
    return jnp.concatenate([draw(k, block, dtype) for k in jax.random.split(key, how.blocks)])


def _glorot(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    bound = (6 / ((shape[0] + shape[1]) * prod(shape[2:]))) ** 0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    q, r = jnp.linalg.qr(jax.random.normal(key, (prod(shape[1:]), shape[0]), dtype))
    return (q * jnp.sign(jnp.diagonal(r))).T.reshape(shape)
