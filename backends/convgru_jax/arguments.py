"""Validate the arguments of a call and convert them to JAX arrays, time first.

``convgru.calls.Caller`` makes the checks, which traced arrays pass too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.core import Tracer

from convgru.calls import ArrayInfo, Caller, CallSizes
from convgru.errors import UnsupportedError
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.fields import positive
from convgru.spec.shapes import nest_state, parameter_shapes, state_leaves
from convgru.weights import DTYPES
from convgru_jax import checks
from convgru_jax.convolution import METHODS
from convgru_jax.forecast import TeacherForcing
from convgru_jax.layer_loop import Extras
from convgru_jax.loop import State


def describe(value: Any) -> ArrayInfo | None:
    """Shape and dtype of an array, a tracer or any other value that has both; None for the rest."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        return None
    return ArrayInfo(tuple(value.shape), str(value.dtype))


def caller_of(spec: Spec, layout: str, method: str = "fast", name: str | None = None) -> Caller:
    """Make the checks of a call in this layout (``TBSC``, ``BTSC``, ``BSC``).

    Errors name the network ``name``, or as the spec does. Raises ValueError for an unknown
    ``method``.
    """
    if method not in METHODS:
        raise ValueError(f"{name or spec.title} method expected one of {', '.join(map(repr, METHODS))}, got {method!r}")
    return Caller(name or spec.title, spec, layout, describe)


def parameters(caller: Caller, arrays: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Check the parameters and return them as arrays of JAX, in the order of the spec.

    Raises TypeError for a dtype that networks do not compute in, UnsupportedError for float64 while
    JAX has it switched off: it would compute in float32 without a word.
    """
    dtype = caller.parameters(arrays)
    if dtype not in DTYPES:
        raise TypeError(f"{caller.name} expected parameters of dtype {', '.join(DTYPES)}, got {dtype}")
    if str(jax.dtypes.canonicalize_dtype(dtype)) != dtype:
        raise UnsupportedError(
            f"{caller.name} got parameters of dtype {dtype}, which JAX computes only with jax_enable_x64: "
            "jax.config.update('jax_enable_x64', True)"
        )
    return {name: _native(arrays[name]) for name in parameter_shapes(caller.spec)}


def inputs(
    caller: Caller, arrays: Mapping[str, Any], x: Any, state: Any
) -> tuple[dict[str, jax.Array], jax.Array, State | None, CallSizes]:
    """Check parameters, input and state; return them as JAX arrays, with the sizes of the call."""
    params = parameters(caller, arrays)
    sizes = caller.input(x, str(next(iter(params.values())).dtype))
    caller.state(state, sizes)
    if state is not None:
        leaves = {name: _native(leaf) for name, leaf in state_leaves(caller.spec, state)}
        state = nest_state(caller.spec, leaves)
    return params, time_first(caller, _native(x)), state, sizes


def extras(caller: Caller, sizes: CallSizes, lengths: Any, context: Any, masks: Any) -> Extras:
    """Check lengths, context and masks and return them as arrays of JAX, time first."""
    if lengths is not None:
        caller.lengths(lengths, sizes)
        if isinstance(lengths, jax.Array) and not isinstance(lengths, Tracer):
            caller.length_values(np.asarray(lengths), sizes)
        traced = isinstance(lengths, Tracer)
        lengths = _native(lengths).astype(jnp.int32)  # unsigned ones would wrap where one is subtracted
        lengths = jnp.clip(lengths, 0, sizes.time) if traced else lengths
    if context is not None:
        caller.context(context, sizes)
        native = (_native(array) for array in context)
        context = tuple(time_first(caller, a) if a.ndim > caller.spec.ndim + 2 else a for a in native)
    if masks is not None:
        caller.masks(masks, sizes)
        masks = {name: _native(mask) for name, mask in masks.items()}
    return Extras(lengths, context, masks)


def teacher_forcing(
    caller: Caller, sizes: CallSizes, steps: int, targets: Any, forced: Any, probability: Any, key: Any
) -> TeacherForcing:
    """Check the arguments of teacher forcing and return them as JAX arrays, time first."""
    if forced is not None and probability is not None:
        raise TypeError(f"{caller.name} expected forced or teacher_forcing, got both")
    caller.targets(targets, forced, sizes, steps, drawn=probability is not None)
    if targets is None:
        return TeacherForcing()
    targets = time_first(caller, _native(targets))
    if forced is not None:
        return TeacherForcing(targets, time_first(caller, _native(forced)))
    if key is None:
        raise TypeError(f"{caller.name} expected a key with teacher_forcing, to draw which steps are forced")
    number: Any = probability
    if isinstance(number, str) or np.ndim(number) > 0:
        raise TypeError(f"{caller.name} teacher_forcing expected one probability for all, got {probability!r}")
    if not isinstance(number, Tracer) and not 0 <= float(number) <= 1:
        raise ValueError(f"{caller.name} teacher_forcing expected a probability, got {probability!r}")
    # jax.random takes no integer for a probability
    return TeacherForcing(targets, probability=jnp.asarray(number, float))


def checkpoint_frames(owner: str, frames: int | None) -> int | None:
    """Return the number of frames of a part; raise ValueError unless it is positive, or None."""
    if frames is not None:
        positive(f"{owner} checkpoint_frames", frames)
    return frames


def check_key(caller: Caller, key: Any) -> None:
    """Raise TypeError unless ``key`` is None or a jax.random key."""
    if key is not None:
        checks.check_key(caller.name, key)


def check_spec(function: str, spec: object, *kinds: type) -> None:
    """Raise TypeError unless ``spec`` is one of the ``kinds`` that this public function runs."""
    if not isinstance(spec, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        hint = {
            "apply": "; forecast runs a ForecasterSpec" if isinstance(spec, ForecasterSpec) else "",
            "forecast": "; apply runs a NetworkSpec" if isinstance(spec, NetworkSpec) else "",
        }.get(function, "")
        raise TypeError(f"convgru.jax.{function} expected a {names}, got {type(spec).__name__}{hint}")


def _native(array: Any) -> jax.Array:
    """Convert to a JAX array; one that is so already is returned as it is.

    Even a conversion that changes nothing would be a program to compile.
    """
    return array if isinstance(array, jax.Array) else jnp.asarray(array)


def time_first(caller: Caller, array: Any) -> Any:
    """Swap time and batch if the call's layout has the batch first; the same swap goes back."""
    return jnp.swapaxes(array, 0, 1) if caller.layout.startswith("BT") else array
