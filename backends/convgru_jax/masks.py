"""Dropout and zoneout: the masks of a call, drawn with JAX's random numbers."""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from convgru.spec import NetworkSpec
from convgru.spec.shapes import mask_shapes
from convgru_jax.checks import check_key, computed_dtype

Masks = dict[str, jax.Array]


def channels_last(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """(..., C, *S) as (..., *S, C)."""
    return (*shape[: -ndim - 1], *shape[-ndim:], shape[-ndim - 1])


def shapes_of(spec: NetworkSpec, time: int, batch: int, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the masks of a call, channels last."""
    shapes = mask_shapes(spec, time, batch, size)
    return {name: channels_last(shape, spec.ndim) for name, shape in shapes.items()}


def draw(spec: NetworkSpec, key: jax.Array, time: int, batch: int, size: tuple[int, ...], dtype: Any) -> Masks:
    """Draw the masks of training.

    Dropout: 0 with the spec's probability, else 1/(1−p). Zoneout: 1 with its probability, else 0.
    """
    check_key(spec.title, key)
    dtype = computed_dtype(spec.title, dtype)
    shapes = shapes_of(spec, time, batch, size)
    keys = jax.random.split(key, max(1, len(shapes)))
    return {name: _mask(spec, k, name, shape, dtype) for k, (name, shape) in zip(keys, shapes.items(), strict=False)}


def _mask(spec: NetworkSpec, key: jax.Array, name: str, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    if name.startswith("zoneout"):
        return jax.random.bernoulli(key, spec.zoneout, shape).astype(dtype)
    kept = 1 - (spec.dropout if name.startswith("dropout") else spec.recurrent_dropout)
    return jnp.where(jax.random.bernoulli(key, kept, shape), jnp.asarray(1 / kept, dtype), 0)


def at(masks: Masks | None, start: int, stop: int) -> Masks | None:
    """Slice the masks to frames ``start`` to ``stop``; those of recurrent dropout have no time."""
    if masks is None:
        return None
    return {name: mask if name.startswith("recurrent") else mask[start:stop] for name, mask in masks.items()}


def first_frame(masks: Masks | None) -> Masks:
    """The masks of the first frame, without their time axis."""
    return {name: mask if name.startswith("recurrent") else mask[0] for name, mask in (masks or {}).items()}


def random(spec: NetworkSpec) -> bool:
    """Return True if a network of this spec draws masks in training."""
    return bool(spec.recurrent_dropout or spec.zoneout or (spec.dropout and len(spec.layers) > 1))
