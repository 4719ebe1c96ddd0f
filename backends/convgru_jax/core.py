"""The networks as pure functions of (spec, arrays, x, state): lax.scan over time, channels last."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from convgru import equations
from convgru.registry import UnsupportedError
from convgru.shapes import (
    cell_parameter_shapes,
    check_dtype,
    check_input,
    check_state,
    check_steps,
    layer_prefix,
    nest_state,
    parameter_shapes,
    state_leaves,
    state_shapes,
)
from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec, Spec
from convgru_jax import ops
from convgru_jax.conv import CONVOLUTIONS
from convgru_jax.init import initial_arrays as initial_arrays

Arrays = Mapping[str, jax.Array]
State = tuple[Any, ...]
DTYPES = ("float64", "float32", "float16", "bfloat16")


def run(
    spec: NetworkSpec, arrays: Arrays, x: Any, state: Any = None, *, method: str = "fast"
) -> tuple[jax.Array, State]:
    """Run a network on x (T, B, *S, C): output (T, B, *S, H) and final state, h (B, *S, H) or (h, c) for each layer.

    Raises ValueError or TypeError, naming what was expected and what came, and UnsupportedError for float64 while
    JAX has it switched off.
    """
    arrays, x, state = _checked(spec, arrays, x, state, "TBSC", method)
    result: tuple[jax.Array, State] = _run(spec, arrays, x, state, method)
    return result


def step(
    spec: NetworkSpec, arrays: Arrays, x: Any, state: Any = None, *, method: str = "fast"
) -> tuple[jax.Array, State]:
    """Run a network on one frame x (B, *S, C): output (B, *S, H) and the next state. Raises as ``run`` does."""
    arrays, x, state = _checked(spec, arrays, x, state, "BSC", method)
    result: tuple[jax.Array, State] = _step(spec, arrays, x, state, method)
    return result


def forecast(
    spec: ForecasterSpec, arrays: Arrays, x: Any, steps: int, state: Any = None, *, method: str = "fast"
) -> tuple[jax.Array, State]:
    """Predict the ``steps`` frames (steps, B, *S, C) that follow x (T, B, *S, C), and the encoder's last state.

    Raises as ``run`` does.
    """
    check_steps(spec.title, steps)
    arrays, x, state = _checked(spec, arrays, x, state, "TBSC", method)
    result: tuple[jax.Array, State] = _forecast(spec, arrays, x, steps, state, method)
    return result


def cell_step(cell: CellSpec, arrays: Arrays, x: jax.Array, state: State, *, method: str = "fast") -> State:
    """One step of a bare cell on x (B, *S, C): arrays by their short names, the state always a tuple. Nothing is checked."""
    result: State = _cell_step(cell, dict(arrays), x, tuple(state), method)
    return result


def zero_state(spec: Spec, batch: int, size: tuple[int, ...], dtype: Any) -> State:
    """The state before the first frame, for an input of spatial ``size``."""
    zeros = partial(jnp.zeros, dtype=dtype)
    return tuple(
        tuple(zeros(_channels_last(part)) for part in entry)
        if isinstance(entry[0], tuple)
        else zeros(_channels_last(entry))
        for entry in state_shapes(spec, batch, size)
    )


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1])


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


def _checked(
    spec: Spec, arrays: Arrays, x: Any, state: Any, layout: str, method: str
) -> tuple[Arrays, jax.Array, State]:
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
        return arrays, x, zero_state(spec, batch, size, dtype)
    check_state(spec.title, shapes, state, "BSC")
    leaves = {name: as_jax(spec.title, name, leaf) for name, leaf in state_leaves(spec, state)}
    for name, leaf in leaves.items():
        check_dtype(spec.title, name, dtype, leaf.dtype)
    return arrays, x, nest_state(spec, leaves)


def _own(arrays: Arrays, layer: int, prefix: str, cell: CellSpec) -> dict[str, jax.Array]:
    """The arrays of one layer, by their short names."""
    start = prefix + layer_prefix(layer)
    return {name: arrays[start + name] for name in cell_parameter_shapes(cell)}


def _prepared(spec: NetworkSpec, arrays: Arrays, method: str, prefix: str = "") -> list[ops.Params]:
    return [ops.prepare(cell, _own(arrays, i, prefix, cell), method) for i, cell in enumerate(spec.layers)]


@partial(jax.jit, static_argnums=(0, 4))
def _run(spec: NetworkSpec, arrays: Arrays, x: jax.Array, state: State, method: str) -> tuple[jax.Array, State]:
    return _layers(spec, _prepared(spec, arrays, method), x, state)


def _layers(spec: NetworkSpec, params: list[ops.Params], x: jax.Array, state: State) -> tuple[jax.Array, State]:
    final = []
    for cell, p, entry in zip(spec.layers, params, state, strict=True):
        x, last = _layer(cell, p, x, entry if isinstance(entry, tuple) else (entry,))
        final.append(_entry(last))
    return x, tuple(final)


def _layer(cell: CellSpec, p: ops.Params, x: jax.Array, state: State) -> tuple[jax.Array, State]:
    def body(state: State, gates_x: jax.Array) -> tuple[State, jax.Array]:
        state = equations.step_of(cell)(ops, cell, p, gates_x, state)
        return state, state[0]

    last, y = lax.scan(body, state, _input_gates(cell, p, x))
    return y, last


def _input_gates(cell: CellSpec, p: ops.Params, x: jax.Array) -> jax.Array:
    """W*x + b of all frames (T, B, *S, C) at once.

    The batch goes first: with it sharded over devices, merging (T, B) would make XLA gather everything everywhere.
    """
    turned = jnp.swapaxes(x, 0, 1)
    gates = equations.input_gates(ops, cell, p, turned.reshape(-1, *turned.shape[2:]))
    return jnp.swapaxes(gates.reshape(*turned.shape[:2], *gates.shape[1:]), 0, 1)


def _entry(parts: State) -> Any:
    return parts[0] if len(parts) == 1 else parts


@partial(jax.jit, static_argnums=(0, 4))
def _step(spec: NetworkSpec, arrays: Arrays, x: jax.Array, state: State, method: str) -> tuple[jax.Array, State]:
    return _frame(spec, _prepared(spec, arrays, method), x, state)


def _frame(spec: NetworkSpec, params: list[ops.Params], x: jax.Array, state: State) -> tuple[jax.Array, State]:
    """One frame through all layers."""
    entries = []
    for cell, p, entry in zip(spec.layers, params, state, strict=True):
        parts = entry if isinstance(entry, tuple) else (entry,)
        gates_x = equations.input_gates(ops, cell, p, x)
        parts = equations.step_of(cell)(ops, cell, p, gates_x, parts)
        entries.append(_entry(parts))
        x = parts[0]
    return x, tuple(entries)


@partial(jax.jit, static_argnums=(0, 4))
def _cell_step(cell: CellSpec, arrays: Arrays, x: jax.Array, state: State, method: str) -> State:
    p = ops.prepare(cell, arrays, method)
    return equations.step_of(cell)(ops, cell, p, equations.input_gates(ops, cell, p, x), state)


@partial(jax.jit, static_argnums=(0, 3, 5))
def _forecast(
    spec: ForecasterSpec, arrays: Arrays, x: jax.Array, steps: int, state: State, method: str
) -> tuple[jax.Array, State]:
    params = _prepared(spec.encoder, arrays, method, "encoder.")
    readout = ops.prepare_readout(spec, arrays, method)
    y, state = _layers(spec.encoder, params, ops.patch(x, spec.patch), state)
    first = equations.readout(ops, spec, readout, y[-1], x[-1])

    def body(carry: tuple[jax.Array, State], _: None) -> tuple[tuple[jax.Array, State], jax.Array]:
        frame, state = carry
        top, state = _frame(spec.encoder, params, ops.patch(frame, spec.patch), state)
        frame = equations.readout(ops, spec, readout, top, frame)
        return (frame, state), frame

    (_, state), rest = lax.scan(body, (first, state), None, length=steps - 1)
    return jnp.concatenate([first[None], rest]), state
