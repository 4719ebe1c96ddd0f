"""The arguments of constructors and calls: dtypes, promotion, flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from convgru.errors import UnsupportedError
from convgru.spec import Spec
from convgru.spec.fields import flag
from convgru.spec.shapes import nest_state, state_leaves, state_shapes
from convgru.weights import DTYPES
from convgru_jax.convolution import METHODS


def supported_dtype(owner: str, dtype: Any) -> Any:
    """Return ``dtype`` as a NumPy dtype; raise unless supported.

    Raises TypeError unless it is one that networks compute in, UnsupportedError for float64 while
    JAX's 64-bit mode is off: JAX would silently make it float32.
    """
    dtype = jnp.dtype(dtype)
    if dtype.name not in DTYPES:
        raise TypeError(f"{owner} expected a dtype of {', '.join(DTYPES)}, got {dtype}")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise UnsupportedError(
            f"{owner}: JAX computes float64 only in 64-bit mode: jax.config.update('jax_enable_x64', True)"
        )
    return dtype


def check_method(owner: str, method: str) -> str:
    """Return ``method``; raise ValueError unless it is ``fast`` or ``plain``."""
    if method not in METHODS:
        raise ValueError(f"{owner} method expected one of {', '.join(map(repr, METHODS))}, got {method!r}")
    return method


def check_flags(owner: str, **flags: object) -> None:
    """Raise TypeError for a constructor flag that is not True or False."""
    for name, value in flags.items():
        flag(f"{owner} {name}", value)


def promote(owner: str, dtype: Any, computed: Any, followers: Any = None) -> tuple[Any, Any]:
    """Bring the arrays of a call to one dtype, as nnx.Linear and nnx.GRUCell do.

    Args:
        owner: whom errors name.
        dtype: what to compute in; None is the dtype to which all arrays of ``computed`` promote.
        computed: parameters, input, carry, context: any tree of arrays.
        followers: masks, targets: cast to that dtype without a say in it.

    What is not an array stays as it is, for the checks of the call to refuse. Raises as
    ``supported_dtype`` does: JAX would silently make float32 of a float64 array while its 64-bit
    mode is off.
    """
    arrays = [leaf for leaf in jax.tree.leaves((computed, followers)) if hasattr(leaf, "dtype")]
    if dtype is None:
        for array in arrays:
            if array.dtype == jnp.float64:
                supported_dtype(owner, array.dtype)
        dtype = jnp.result_type(*(leaf for leaf in jax.tree.leaves(computed) if hasattr(leaf, "dtype")))
    dtype = supported_dtype(owner, dtype)

    def cast(leaf: Any) -> Any:
        if not hasattr(leaf, "dtype") or (isinstance(leaf, jax.Array) and leaf.dtype == dtype):
            return leaf
        return jnp.asarray(leaf, dtype)

    promoted: tuple[Any, Any] = jax.tree.map(cast, (computed, followers))
    return promoted


def initial_carry(
    owner: str, spec: Spec, input_shape: Sequence[int], dtype: Any, rngs: Any, carry_init: Any
) -> tuple[Any, ...]:
    """Make the carry before frames of ``input_shape`` (B, *S, C): zeros or from ``carry_init``.

    Raises ValueError for a shape that the network cannot read, and for a ``carry_init`` without
    rngs.
    """
    stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
    if carry_init is not None and stream is None:
        raise ValueError(f"{owner}.initialize_carry expected rngs with carry_init, got None")
    if len(input_shape) != spec.ndim + 2 or input_shape[-1] != spec.in_channels:
        axes = ", ".join("DHW"[-spec.ndim :])
        raise ValueError(
            f"{owner}.initialize_carry expected the shape of one frame, (B, {axes}, {spec.in_channels}), "
            f"got {tuple(input_shape)}"
        )

    batch, *size, _ = input_shape

    def make(shape: tuple[int, ...]) -> jax.Array:
        shape = (shape[0], *shape[2:], shape[1])
        if carry_init is None:
            return jnp.zeros(shape, dtype)
        array: jax.Array = carry_init(stream(), shape, dtype)
        return array

    shapes = dict(state_leaves(spec, state_shapes(spec, batch, size)))
    return nest_state(spec, {name: make(shape) for name, shape in shapes.items()})
