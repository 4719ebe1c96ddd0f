"""The networks as pure functions of (spec, arrays, x, state): a call is checked, then all of it runs in one jit."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from convgru.calls import check_input, check_resume, check_steps
from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec
from convgru_jax import arguments, loop
from convgru_jax import forecast as forecasting
from convgru_jax import masks as dropping
from convgru_jax.arguments import Arrays, State
from convgru_jax.arguments import check_arrays as check_arrays
from convgru_jax.loop import Extras


class Options(NamedTuple):
    """What of a call is static: ``time`` is the axis of time in x and the output, 0 or 1; see ``run`` for the others."""

    method: str = "fast"
    time: int = 0
    every: bool = False
    last: bool = False
    resume: bool = False


def run(
    spec: NetworkSpec,
    arrays: Arrays,
    x: Any,
    state: Any = None,
    *,
    lengths: Any = None,
    context: Any = None,
    masks: Any = None,
    key: Any = None,
    return_all_layers: bool = False,
    last_only: bool = False,
    method: str = "fast",
    time: int = 0,
) -> tuple[Any, State]:
    """Run a network on x (T, B, *S, C): output (T, B, *S, H) and final state, h (B, *S, H) or (h, c) for each entry.

    ``time`` 1 is for x, timed context and output that are (B, T, …). Raises ValueError or TypeError, naming what was
    expected and what came, and UnsupportedError for float64 while JAX has it switched off.
    """
    layout = "BTSC" if time else "TBSC"
    arrays, x, state = arguments.checked(spec, arrays, x, state, layout, method)
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, layout)
    call = arguments.Call(x.shape[time], batch, size, x.dtype, time)
    extras = arguments.checked_extras(spec, call, lengths, context, masks)
    arguments.check_key(spec.title, key)
    options = Options(method, time, bool(return_all_layers), bool(last_only))
    result: tuple[Any, State] = _run(spec, arrays, x, state, extras, key, options)
    return result


def step(
    spec: NetworkSpec,
    arrays: Arrays,
    x: Any,
    state: Any = None,
    *,
    context: Any = None,
    masks: Any = None,
    key: Any = None,
    method: str = "fast",
) -> tuple[jax.Array, State]:
    """Run a network on one frame x (B, *S, C): output (B, *S, H) and the next state. Masks have one frame. Raises as ``run`` does."""
    if spec.bidirectional is not None:
        raise ValueError(
            f"{spec.title} expected a network without a backward direction for step (which has seen no later frames), "
            f"got bidirectional {spec.bidirectional!r}"
        )
    arrays, x, state = arguments.checked(spec, arrays, x, state, "BSC", method)
    call = arguments.Call(1, x.shape[0], x.shape[1:-1], x.dtype)
    extras = arguments.checked_extras(spec, call, None, context, masks)
    arguments.check_key(spec.title, key)
    result: tuple[jax.Array, State] = _step(spec, arrays, x, state, extras, key, Options(method))
    return result


def forecast(
    spec: ForecasterSpec,
    arrays: Arrays,
    x: Any,
    steps: int,
    state: Any = None,
    *,
    targets: Any = None,
    forced: Any = None,
    teacher_forcing: Any = None,
    key: Any = None,
    method: str = "fast",
    time: int = 0,
    resume: bool = False,
) -> tuple[jax.Array, State]:
    """Predict the ``steps`` frames (steps, B, *S, C) that follow x (T, B, *S, C), and the state of the network that made the last.

    ``time`` 1 is for x, targets and frames that are (B, T, …). Raises as ``run`` does, and as ``check_resume``.
    """
    check_steps(spec.title, steps)
    layout = "BTSC" if time else "TBSC"
    arrays, x, state = arguments.checked(spec, arrays, x, state, layout, method)
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, layout)
    check_resume(spec.title, resume, x.shape[time], state)
    arguments.check_key(spec.title, key)
    call = arguments.Call(steps, batch, size, x.dtype, time)
    teaching = arguments.checked_targets(spec, call, targets, forced, teacher_forcing, key)
    options = Options(method, time, resume=resume)
    result: tuple[jax.Array, State] = _forecast(spec, arrays, x, steps, state, teaching, key, options)
    return result


def cell_step(
    cell: CellSpec, arrays: Arrays, x: jax.Array, state: State, *, context: Any = None, method: str = "fast"
) -> State:
    """One step of a bare cell on x (B, *S, C): arrays by their short names, the state always a tuple. Nothing is checked."""
    result: State = _cell_step(cell, dict(arrays), x, tuple(state), context, method)
    return result


def _swapped(x: Any, time: int) -> Any:
    return jnp.swapaxes(x, 0, 1) if time and x is not None else x


def _begin(spec: Any, x: jax.Array, state: State | None) -> State:
    """The state of a call on frames x (T, B, *S, C)."""
    if state is not None:
        return state
    zeros = jnp.zeros_like(x[(0, slice(None), *(0,) * (x.ndim - 2))])  # of x: an explicit mesh may shard its batch
    begin: State = jax.tree.map(
        lambda h: jnp.broadcast_to(zeros.reshape(-1, *(1,) * (h.ndim - 1)), h.shape),
        arguments.zero_state(spec, x.shape[1], x.shape[2:-1], x.dtype),
    )
    return begin


def _drawn(spec: NetworkSpec, x: jax.Array, extras: Extras, key: jax.Array | None) -> Extras:
    """With a key and no masks: those of training."""
    if key is None or extras.masks is not None or not dropping.random(spec):
        return extras
    return extras._replace(masks=dropping.draw(spec, key, x.shape[0], x.shape[1], x.shape[2:-1], x.dtype))


@partial(jax.jit, static_argnums=(0, 6))
def _run(
    spec: NetworkSpec,
    arrays: Arrays,
    x: jax.Array,
    state: State | None,
    extras: Extras,
    key: jax.Array | None,
    options: Options,
) -> tuple[Any, State]:
    x = _swapped(x, options.time)
    params = loop.prepare(spec, arrays, options.method)
    if extras.context is not None:
        context = tuple(_swapped(a, options.time) if a.ndim > spec.ndim + 2 else a for a in extras.context)
        extras = extras._replace(context=context)
    extras = _drawn(spec, x, extras, key)
    outputs, final = loop.run(spec, params, x, _begin(spec, x, state), extras, every=options.every, last=options.last)
    if not options.last:
        outputs = [_swapped(y, options.time) for y in outputs]
    return (tuple(outputs) if options.every else outputs[-1]), final


@partial(jax.jit, static_argnums=(0, 6))
def _step(
    spec: NetworkSpec,
    arrays: Arrays,
    x: jax.Array,
    state: State | None,
    extras: Extras,
    key: jax.Array | None,
    options: Options,
) -> tuple[jax.Array, State]:
    extras = _drawn(spec, x[None], extras, key)
    own = _first(extras.masks)
    context = extras.context
    if context is not None:
        context = tuple(a[0] if a.ndim > spec.ndim + 2 else a for a in context)
    params = loop.prepare(spec, arrays, options.method)
    return loop.one_frame(spec, params, x, _begin(spec, x[None], state), context, own)


def _first(drawn: dropping.Masks | None) -> dropping.Masks:
    """The masks of the first frame."""
    return {n: m if n.startswith("recurrent") else m[0] for n, m in (drawn or {}).items()}


@partial(jax.jit, static_argnums=(0, 5))
def _cell_step(
    cell: CellSpec, arrays: Arrays, x: jax.Array, state: State, context: jax.Array | None, method: str
) -> State:
    params = loop.prepare_cell(cell, arrays, method)
    frame = loop.Frame(loop.input_gates(cell, params, x), context)
    return loop.advance(NetworkSpec((cell,)), cell, params, frame, state, None)


@partial(jax.jit, static_argnums=(0, 3, 7))
def _forecast(
    spec: ForecasterSpec,
    arrays: Arrays,
    x: jax.Array,
    steps: int,
    state: State | None,
    teaching: tuple[Any, Any, Any],
    key: jax.Array | None,
    options: Options,
) -> tuple[jax.Array, State]:
    x = _swapped(x, options.time)
    targets, forced, probability = teaching
    taught = (_swapped(targets, options.time), _swapped(forced, options.time), probability)
    begin = _begin(spec, x, state)
    frames, final = forecasting.run(spec, arrays, x, steps, begin, taught, key, options.method, options.resume)
    return _swapped(frames, options.time), final
