"""The forecast: the encoder runs over the given frames, then steps predict one frame each.

A step reads the prediction before it, a target (teacher forcing) or zeros.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from convgru import equations
from convgru.spec import ForecasterSpec, NetworkSpec
from convgru_jax import loop, masks, ops, parts
from convgru_jax.layer_loop import Extras, input_gates, lean
from convgru_jax.loop import Arrays, State


class TeacherForcing(NamedTuple):
    """Targets (steps, B, *S, C), and where a step reads them instead of the prediction.

    Either ``forced``, booleans (steps, B), or ``probability``, from which these are drawn.
    """

    targets: jax.Array | None = None
    forced: jax.Array | None = None
    probability: jax.Array | None = None


def run(
    spec: ForecasterSpec,
    arrays: Arrays,
    x: jax.Array,
    steps: int,
    state: State,
    teaching: TeacherForcing,
    key: jax.Array | None,
    method: str,
    resume: bool,
    checkpoint_frames: int | None = None,
) -> tuple[jax.Array, State]:
    """Predict the frames (steps, B, *S, C) that follow x (T, B, *S, C), and the final state.

    The state is that of the network that predicted the last frame. With ``resume`` the given state
    is that of the predicting network, and x the one frame from which it goes on.
    """
    keys = (None,) * 3 if key is None else tuple(jax.random.split(key, 3))
    targets, forced, probability = teaching
    if targets is not None and probability is not None and keys[2] is not None:
        forced = jax.random.bernoulli(keys[2], probability, targets.shape[:2])
    inside = ops.patch(x, spec.patch)
    horizon = _Horizon(spec, arrays, method, checkpoint_frames)
    if resume:
        drawn = _masks(horizon.network, inside, steps, keys[1])
        return horizon.from_state(x[-1], state, steps, (targets, forced), drawn)
    more = 0 if spec.decoder is not None else steps - 1
    time = x.shape[0]
    drawn = _masks(spec.encoder, inside, time + more, keys[0])
    encoder = horizon.params if spec.decoder is None else loop.prepare(spec.encoder, arrays, method, "encoder.")
    extras = Extras(masks=masks.at(drawn, 0, time))
    (top,), state = loop.run(
        spec.encoder, encoder, inside, state, extras, last_only=True, checkpoint_frames=checkpoint_frames
    )
    if spec.decoder is None:
        drawn = masks.at(drawn, time, time + more)
        frames, state = horizon.from_encoder(top, x[-1], state, steps, (targets, forced), drawn)
    else:
        drawn = _masks(spec.decoder, inside, steps, keys[1])
        frames, state = horizon.from_state(x[-1], state, steps, (targets, forced), drawn)
    return frames, state


def _masks(spec: NetworkSpec, x: jax.Array, time: int, key: jax.Array | None) -> masks.Masks | None:
    """Draw the masks of training for ``time`` frames of the sizes of x; None without a key."""
    if key is None or not masks.random(spec):
        return None
    return masks.draw(spec, key, time, x.shape[1], x.shape[2:-1], x.dtype)


class _Horizon:
    """The part of a forecaster that predicts, after the last given frame."""

    def __init__(self, spec: ForecasterSpec, arrays: Arrays, method: str, checkpoint_frames: int | None) -> None:
        self.spec, self.checkpoint_frames = spec, checkpoint_frames
        self.readout = ops.prepare_readout(spec, arrays, method)
        self.network = spec.encoder if spec.decoder is None else spec.decoder
        prefix = "encoder." if spec.decoder is None else "decoder."
        self.params = loop.prepare(self.network, arrays, method, prefix)

    def from_encoder(
        self, top: jax.Array, last: jax.Array, state: State, steps: int, teaching: Any, drawn: Any
    ) -> tuple[jax.Array, State]:
        """Predict without a decoder: the encoder's output already gives the first prediction."""
        first = equations.readout(ops, self.spec, self.readout, top, last)
        taught = None if teaching[0] is None else tuple(a[: steps - 1] for a in teaching)
        rest, state = self.scan(first, state, steps - 1, taught, drawn)
        return jnp.concatenate([first[None], rest]), state

    def from_state(
        self, last: jax.Array, state: State, steps: int, teaching: Any, drawn: Any
    ) -> tuple[jax.Array, State]:
        """Predict with a decoder, or resume: the network reads the last given frame first."""
        taught = None
        if teaching[0] is not None:
            targets, forced = teaching
            taught = jnp.roll(targets, 1, 0), jnp.roll(forced, 1, 0).at[0].set(False)
        return self.scan(last, state, steps, taught, drawn)

    def scan(
        self, frame: jax.Array, state: State, steps: int, taught: Any, drawn: masks.Masks | None
    ) -> tuple[jax.Array, State]:
        """Run the steps; each reads the prediction before it, or the target where it is forced."""
        fixed = {n: m for n, m in (drawn or {}).items() if n.startswith("recurrent")}
        timed = {n: m for n, m in (drawn or {}).items() if n not in fixed}
        gates = None
        if not self.spec.feedback:  # what it reads is the same in every step
            nothing = jnp.zeros_like(ops.patch(frame, self.spec.patch))
            gates = tuple(map(ops.wide, input_gates(self.network.layers[0], self.params[0], nothing)))

        def body(carry: tuple[jax.Array, State], now: Any) -> tuple[tuple[jax.Array, State], jax.Array]:
            (frame, state), (_, taught, timed) = carry, now
            if taught is not None:
                target, forced = taught
                frame = jnp.where(forced.reshape(-1, *(1,) * (frame.ndim - 1)), target, frame)
            inside = ops.patch(frame, self.spec.patch) if self.spec.feedback else None
            given = gates and tuple(a.astype(frame.dtype) for a in gates)
            top, state = loop.one_frame(self.network, self.params, inside, state, None, timed | fixed, given)
            frame = equations.readout(ops, self.spec, self.readout, top, frame)
            return (frame, state), frame

        def part(carry: Any, now: Any) -> tuple[Any, Any]:
            return lax.scan(lean(body), carry, now)

        every = (jnp.arange(steps), taught, timed)
        (_, state), frames = parts.run(part, self.checkpoint_frames, (frame, state), every)
        return frames, state
