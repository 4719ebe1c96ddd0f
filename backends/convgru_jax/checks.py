"""Checks of dtypes and keys, for public functions that have no call of a network around them."""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

from convgru.errors import UnsupportedError
from convgru.weights import dtype_of


def computed_dtype(owner: str, dtype: Any) -> str:
    """Return the name of a dtype in which JAX computes networks at present.

    Raises WeightsError for one that networks do not have, UnsupportedError for float64 while JAX
    has it switched off: it would make float32 of it.
    """
    name = str(dtype_of(jnp.dtype(dtype)))
    if str(jax.dtypes.canonicalize_dtype(name)) != name:
        raise UnsupportedError(
            f"{owner} expected a dtype that JAX computes in, got float64, which needs jax.config.update('jax_enable_x64', True)"
        )
    return name


def check_key(owner: str, key: Any) -> None:
    """Raise TypeError unless ``key`` is a jax.random key."""
    typed = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed and not (hasattr(key, "dtype") and key.dtype == jnp.uint32):
        raise TypeError(f"{owner} expected a key of jax.random, got {type(key).__name__}")
