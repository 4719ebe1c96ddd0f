"""A module's parameters as nnx.Param: given arrays or initial values, with the user's metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from convgru.initialization import cell_of
from convgru.spec import CellSpec, Spec
from convgru_flax.arguments import supported_dtype
from convgru_jax import arguments as jax_arguments
from convgru_jax.parameters import initial_arrays

Params = dict[str, nnx.Param[Any]]
Initializer = Callable[[jax.Array, tuple[int, ...], Any], Any]
"""As in jax.nn.initializers: (key, shape, dtype) -> array; nnx.with_partitioning may wrap it."""

ROLES = {"weight_ih": "kernel", "weight_hh": "recurrent_kernel", "bias": "bias", "bias_hn": "bias"}
"""Which ``*_init`` and ``*_metadata`` a parameter of a layer follows; the others have none."""


def create(
    owner: str,
    spec: Spec,
    *,
    rngs: object = None,
    arrays: Mapping[str, Any] | None = None,
    param_dtype: Any = None,
    **options: Any,
) -> Params:
    """Make every parameter of ``spec``, by canonical name.

    Raises ValueError or TypeError for arrays that are not those of the spec, for initializers,
    another ``param_dtype`` or metadata beside arrays that would not get them, and for missing rngs.
    """
    initializers = {name: init for name, init in options.items() if name.endswith("_init") and init is not None}
    if arrays is None:
        values = _initial(owner, spec, rngs, jnp.float32 if param_dtype is None else param_dtype, initializers)
    elif initializers:
        raise ValueError(f"{owner} expected no {', '.join(initializers)} beside arrays, which need no initial values")
    else:
        values = _given(spec, arrays)
        _check_dtype(owner, values, param_dtype)
    return {name: _param(owner, name, value, options) for name, value in values.items()}


def _check_dtype(owner: str, values: Mapping[str, Any], param_dtype: Any) -> None:
    """Raise ValueError for arrays of another dtype than the one that is asked for beside them."""
    dtype = next(iter(values.values())).dtype
    if param_dtype is not None and supported_dtype(owner, param_dtype) != dtype:
        raise ValueError(
            f"{owner} expected arrays of param_dtype {jnp.dtype(param_dtype)}, got {dtype}: given arrays are kept "
            "as they are, weights.astype rounds them"
        )


def _param(owner: str, name: str, value: Any, options: Mapping[str, Any]) -> nnx.Param[Any]:
    """Wrap a value as nnx.Param with its metadata; one that is an nnx.Param already is kept."""
    role = ROLES.get(name.rpartition(".")[2]) if not name.startswith("readout.") else None
    metadata = options.get(f"{role}_metadata") or {}
    if not isinstance(value, nnx.Param):
        return nnx.Param(value, **metadata)
    if metadata:
        raise ValueError(f"{owner} expected no {role}_metadata beside {name}, an nnx.Param that keeps its own")
    return value


def _given(spec: Spec, arrays: Mapping[str, Any]) -> dict[str, Any]:
    params = {name: array for name, array in arrays.items() if isinstance(array, nnx.Param)}
    # JAX may share memory with a NumPy array, which the caller may change.
    plain = {name: array.copy() if isinstance(array, np.ndarray) else array for name, array in arrays.items()}
    plain |= {name: param[...] for name, param in params.items()}
    return {**jax_arguments.parameters(jax_arguments.caller_of(spec, "BTSC"), plain), **params}


def _initial(
    owner: str, spec: Spec, rngs: object, param_dtype: Any, initializers: Mapping[str, Initializer]
) -> dict[str, Any]:
    """Draw what convgru.jax.init draws from the same key, except where an initializer is given."""
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(f"{owner} expected rngs, an nnx.Rngs to draw the initial parameters from, got {rngs!r}")
    dtype = supported_dtype(owner, param_dtype)
    key = rngs.params()
    values: dict[str, Any] = dict(initial_arrays(spec, key, dtype))
    keys = jax.random.split(jax.random.clone(key), len(values))  # the same: what they draw stands instead
    for name_key, (name, array) in zip(keys, list(values.items()), strict=True):
        cell = cell_of(spec, name)
        init = initializers.get(f"{ROLES.get(name.rpartition('.')[2])}_init")
        if init is not None and cell is not None:
            values[name] = _by_gate(owner, name, init, name_key, array.shape, dtype, cell)
    return values


def _by_gate(
    owner: str, name: str, init: Initializer, key: jax.Array, shape: tuple[int, ...], dtype: Any, cell: CellSpec
) -> Any:
    """Call an initializer for each gate and group by itself.

    It sees nnx.Conv's layout (*kernel, in, out), so that the fans are those of one convolution.
    """
    is_kernel = len(shape) > 1
    blocks = shape[0] // cell.hidden_channels * (cell.groups if is_kernel else 1)
    rows = shape[0] // blocks
    block = (*shape[2:], shape[1], rows) if is_kernel else (rows,)
    drawn = [init(block_key, block, dtype) for block_key in jax.random.split(key, blocks)]
    arrays = [part.raw_value if isinstance(part, nnx.VariableMetadata) else part for part in drawn]
    for array in arrays:
        if jnp.shape(array) != block:
            raise ValueError(f"{owner} {name}: the initializer was asked for shape {block}, got {jnp.shape(array)}")
    if is_kernel:
        arrays = [jnp.moveaxis(array, (-1, -2), (0, 1)) for array in arrays]
    value = jnp.concatenate(arrays).astype(dtype)
    return replace(drawn[0], raw_value=value) if isinstance(drawn[0], nnx.VariableMetadata) else value
