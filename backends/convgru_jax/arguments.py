"""What is checked before a call computes, on shapes and dtypes alone, so that everything may be traced."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.core import Tracer

from convgru.calls import check_context, check_dtype, check_input, check_lengths, check_masks, check_shape, check_state
from convgru.errors import UnsupportedError
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import context_shapes, nest_state, parameter_shapes, state_leaves, state_shapes
from convgru_jax.convolution import CONVOLUTIONS
from convgru_jax.loop import Extras
from convgru_jax.masks import channels_last, shapes_of

Arrays = Mapping[str, jax.Array]
State = tuple[Any, ...]
DTYPES = ("float64", "float32", "float16", "bfloat16")


class Call(NamedTuple):
    """The sizes of a call: frames, samples, pixels; the dtype; and which axis of what has both is time, 0 or 1."""

    time: int
    batch: int
    size: tuple[int, ...]
    dtype: Any
    axis: int = 0

    def lead(self) -> tuple[int, int]:
        """Time and batch in the order of the call."""
        return (self.batch, self.time) if self.axis else (self.time, self.batch)


def zero_state(spec: Spec, batch: int, size: tuple[int, ...], dtype: Any) -> State:
    """The state before the first frame, for an input of spatial ``size``."""
    zeros = partial(jnp.zeros, dtype=dtype)
    return tuple(
        tuple(zeros(channels_last(part, spec.ndim)) for part in entry)
        if isinstance(entry[0], tuple)
        else zeros(channels_last(entry, spec.ndim))
        for entry in state_shapes(spec, batch, size)
    )


def check_arrays(title: str, shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The arrays on JAX, in the order of ``shapes``. Raises ValueError or TypeError for other names, shapes or dtypes."""
    missing, strange = sorted(shapes.keys() - arrays.keys()), sorted(arrays.keys() - shapes.keys())
    if missing or strange:
        raise ValueError(f"{title} params: missing {missing or 'nothing'}, unexpected {strange or 'nothing'}")
    native = {name: as_jax(title, name, arrays[name]) for name in shapes}
    dtype = next(iter(native.values())).dtype
    if str(dtype) not in DTYPES:
        raise TypeError(f"{title} expected params of dtype {', '.join(DTYPES)}, got {dtype}")
    for name, shape in shapes.items():
        if native[name].shape != shape:
            raise ValueError(f"{title} params: {name} expected shape {shape}, got {native[name].shape}")
        if native[name].dtype != dtype:
            raise TypeError(f"{title} expected one dtype for all params, got {dtype} and {native[name].dtype} ({name})")
    return native


def as_jax(title: str, what: str, array: Any) -> jax.Array:
    """The array on JAX, in its own dtype. Raises UnsupportedError where JAX would compute in float32 in silence."""
    if not hasattr(array, "dtype"):
        raise TypeError(f"{title} expected {what} to be an array, got {type(array).__name__}")
    if str(array.dtype) == "float64" and jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise UnsupportedError(
            f"{title} got {what} of dtype {array.dtype}, which JAX computes only with jax_enable_x64: "
            "jax.config.update('jax_enable_x64', True)"
        )
    return jnp.asarray(array)


def checked(
    spec: Spec, arrays: Arrays, x: Any, state: Any, layout: str, method: str
) -> tuple[Arrays, jax.Array, State | None]:
    """Parameters, input and state on JAX. Raises ValueError or TypeError, naming what was expected and what came."""
    if method not in CONVOLUTIONS:
        raise ValueError(f"{spec.title} method expected one of {', '.join(map(repr, CONVOLUTIONS))}, got {method!r}")
    arrays = check_arrays(spec.title, parameter_shapes(spec), arrays)
    dtype = next(iter(arrays.values())).dtype
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise TypeError(f"{spec.title} expected an input that is an array, got {type(x).__name__}")
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, layout)
    shapes = state_shapes(spec, batch, size)
    check_dtype(spec.title, "an input", dtype, np.dtype(x.dtype))
    x = as_jax(spec.title, "an input", x)
    if state is None:
        return arrays, x, None
    check_state(spec.title, shapes, state, "BSC")
    leaves = {name: _own(spec.title, name, leaf, dtype) for name, leaf in state_leaves(spec, state)}
    return arrays, x, nest_state(spec, leaves)


def _own(title: str, what: str, array: Any, dtype: Any) -> jax.Array:
    """An array on JAX that has the dtype of the parameters."""
    native = as_jax(title, what, array)
    check_dtype(title, what, dtype, native.dtype)
    return native


def checked_extras(spec: NetworkSpec, call: Call, lengths: Any, context: Any, masks: Any) -> Extras:
    """Lengths, context (with or without time) and masks (time first) on JAX. Raises as ``checked`` does."""
    title, (time, batch, size, dtype, _) = spec.title, call
    if lengths is not None:
        lengths = checked_lengths(title, lengths, time, batch)
    if context is not None:
        shapes = [channels_last(shape, spec.ndim) for shape in context_shapes(spec, batch, size)]
        if isinstance(context, (tuple, list)):
            context = tuple(_own(title, f"context[{i}]", array, dtype) for i, array in enumerate(context))
            check_context(title, shapes, [_time_first(array, call.axis, spec.ndim) for array in context], time)
        else:
            check_context(title, shapes, context, time)
    if masks is not None:
        if not isinstance(masks, Mapping):
            raise TypeError(f"{title} expected masks to be a mapping from names to arrays, got {type(masks).__name__}")
        masks = {name: _own(title, f"mask {name}", array, dtype) for name, array in masks.items()}
        check_masks(title, shapes_of(spec, time, batch, size), masks)
    return Extras(lengths, context, masks)


def _time_first(array: jax.Array, axis: int, ndim: int) -> Any:
    """The shape of a context with time in front."""
    if axis == 0 or array.ndim <= ndim + 2:
        return array
    return jax.ShapeDtypeStruct((array.shape[1], array.shape[0], *array.shape[2:]), array.dtype)


def checked_lengths(title: str, lengths: Any, time: int, batch: int) -> jax.Array:
    """Lengths on JAX; of traced ones only shape and dtype can be checked."""
    if not isinstance(lengths, Tracer):
        check_lengths(title, lengths, time, batch)
    elif lengths.shape != (batch,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"{title} expected lengths to be {batch} integers (one for each sample), got {lengths.dtype} of shape {lengths.shape}"
        )
    return jnp.asarray(lengths).astype(jnp.int32)  # unsigned ones would wrap where one is subtracted


def checked_targets(
    spec: ForecasterSpec, call: Call, targets: Any, forced: Any, probability: Any, key: Any
) -> tuple[jax.Array | None, jax.Array | None, Any]:
    """Targets, where they are forced, and the probability of that, on JAX. Raises as ``checked`` does."""
    if (targets is None) != (forced is None and probability is None):
        raise TypeError("Forecaster expected targets together with forced or teacher_forcing")
    if targets is None:
        return None, None, None
    if forced is not None and probability is not None:
        raise TypeError("Forecaster expected forced or teacher_forcing, got both")
    targets = _own(spec.title, "targets", targets, call.dtype)
    check_shape("Forecaster targets", (*call.lead(), *call.size, spec.channels), targets)
    if forced is not None:
        forced = as_jax(spec.title, "forced", forced)
        check_shape("Forecaster forced", call.lead(), forced)
        if forced.dtype != bool:
            raise TypeError(f"Forecaster expected forced to hold booleans, got {forced.dtype}")
        return targets, forced, None
    if key is None:
        raise TypeError("Forecaster expected a key with teacher_forcing, to draw which steps are forced")
    number: Any = probability
    if not isinstance(number, Tracer) and not 0 <= float(number) <= 1:
        raise ValueError(f"Forecaster teacher_forcing expected a probability, got {probability!r}")
    return targets, None, jnp.asarray(number, float)  # jax.random takes no integer for a probability


def check_key(title: str, key: Any) -> None:
    """Raise TypeError for what is no key of jax.random."""
    if key is None:
        return
    typed = hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed and not (hasattr(key, "dtype") and key.dtype == jnp.uint32):
        raise TypeError(f"{title} expected a key of jax.random, got {type(key).__name__}")
