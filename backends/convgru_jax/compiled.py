"""What ``apply``, ``step`` and ``forecast`` run under jit.

Arguments are checked and time stands first: callers transpose before and after, so calls that
differ only in their layout share one compiled program.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp

from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import nest_state, state_leaves, state_shapes
from convgru_jax import forecast as forecasting
from convgru_jax import loop, sharding
from convgru_jax import masks as dropping
from convgru_jax.convolution import on_cpu
from convgru_jax.forecast import TeacherForcing
from convgru_jax.layer_loop import Extras
from convgru_jax.loop import Arrays, State


class Options(NamedTuple):
    """The static options of a call, named as in ``convgru_jax.functional``."""

    method: str = "fast"
    return_all_layers: bool = False
    last_only: bool = False
    resume: bool = False
    checkpoint_frames: int | None = None


@partial(jax.jit, static_argnums=(0, 6))
def run(
    spec: NetworkSpec,
    arrays: Arrays,
    x: jax.Array,
    state: State | None,
    extras: Extras,
    key: jax.Array | None,
    options: Options,
) -> tuple[Any, State]:
    """Run a network on x (T, B, *S, C): output (T, B, *S, H) and final state.

    ``options`` may ask for other outputs: those of all layers, or of the last valid frame only.
    """

    def network(arrays: Arrays, x: jax.Array, state: State | None, extras: Extras, key: jax.Array | None) -> Any:
        extras = _drawn(spec, x, extras, key)
        params = loop.prepare(spec, arrays, options.method)
        begin = _begin(spec, x, state)
        every, last, frames = options.return_all_layers, options.last_only, options.checkpoint_frames
        outputs, final = loop.run(
            spec, params, x, begin, extras, return_all_layers=every, last_only=last, checkpoint_frames=frames
        )
        return (tuple(outputs) if every else outputs[-1]), final

    result: tuple[Any, State] = _on_devices(network, spec, arrays, x, state, extras, key)
    return result


@partial(jax.jit, static_argnums=(0, 6))
def step(
    spec: NetworkSpec,
    arrays: Arrays,
    x: jax.Array,
    state: State | None,
    extras: Extras,
    key: jax.Array | None,
    options: Options,
) -> tuple[jax.Array, State]:
    """Run a network on one frame x (B, *S, C): output (B, *S, H) and next state.

    Context and masks have one frame.
    """

    def frame(arrays: Arrays, x: jax.Array, state: State | None, extras: Extras, key: jax.Array | None) -> Any:
        masks = dropping.first_frame(_drawn(spec, x[None], extras, key).masks)
        context = extras.context
        if context is not None:
            context = tuple(a[0] if a.ndim > spec.ndim + 2 else a for a in context)
        params = loop.prepare(spec, arrays, options.method)
        return loop.one_frame(spec, params, x, _begin(spec, x[None], state), context, masks)

    result: tuple[jax.Array, State] = _on_devices(frame, spec, arrays, x, state, extras, key)
    return result


@partial(jax.jit, static_argnums=(0, 3, 7))
def forecast(
    spec: ForecasterSpec,
    arrays: Arrays,
    x: jax.Array,
    steps: int,
    state: State | None,
    teaching: TeacherForcing,
    key: jax.Array | None,
    options: Options,
) -> tuple[jax.Array, State]:
    """Predict the frames (steps, B, *S, C) that follow x (T, B, *S, C), and the final state.

    The state is that of the network that predicted the last frame.
    """

    def forecaster(
        arrays: Arrays, x: jax.Array, state: State | None, teaching: TeacherForcing, key: jax.Array | None
    ) -> tuple[jax.Array, State]:
        begin = _begin(spec, x, state)
        method, _, _, resume, frames = options
        return forecasting.run(spec, arrays, x, steps, begin, teaching, key, method, resume, frames)

    result: tuple[jax.Array, State] = _on_devices(forecaster, spec, arrays, x, state, teaching, key)
    return result


def _on_devices(
    function: Any, spec: Spec, arrays: Arrays, x: jax.Array, state: State | None, extras: Any, key: jax.Array | None
) -> Any:
    """Call ``function`` with its arrays placed as a mesh of several devices needs them."""
    arrays, x, state, extras = sharding.vary_alike((arrays, x, state, extras), key)
    images = (x, state, getattr(extras, "context", None))
    # With a sharded batch JAX's types refuse patches, and allow no convolution but its own: on CPU
    # XLA therefore partitions that too.
    batch = isinstance(spec, ForecasterSpec) or on_cpu()
    spread = sharding.space_sharding(spec.ndim, images, batch=batch)
    if spread is None:
        sharding.check_axes(spec.title, spec.ndim, (x, state, extras))
        return function(arrays, x, state, extras, key)
    return sharding.run_in_space(function, spread, arrays, x, state, extras, key)


def _begin(spec: Spec, x: jax.Array, state: State | None) -> State:
    """Return the initial state for frames x (T, B, *S, C): the one given, or zeros."""
    if state is not None:
        return state
    zeros = jnp.zeros_like(x[(0, slice(None), *(0,) * (x.ndim - 2))])  # of x: an explicit mesh may shard its batch
    column = zeros.reshape(-1, *(1,) * (spec.ndim + 1))
    shapes = state_leaves(spec, state_shapes(spec, x.shape[1], x.shape[2:-1]))
    leaves = {name: jnp.broadcast_to(column, dropping.channels_last(shape, spec.ndim)) for name, shape in shapes}
    return nest_state(spec, leaves)


def _drawn(spec: NetworkSpec, x: jax.Array, extras: Extras, key: jax.Array | None) -> Extras:
    """Add the masks of training if there is a key and no masks are given."""
    if key is None or extras.masks is not None or not dropping.random(spec):
        return extras
    return extras._replace(masks=dropping.draw(spec, key, x.shape[0], x.shape[1], x.shape[2:-1], x.dtype))
