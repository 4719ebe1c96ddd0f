"""The contestants of ``convgru bench`` in JAX: ours, the plain loop, Keras, the floor.

Every one is compiled ahead of time, at its first call, and returns when the result is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from convgru_jax import functional
from convgru_jax.bench_floor import floor
from convgru_jax.convolution_geometry import SPATIAL

if TYPE_CHECKING:
    from convgru.bench.contest import Contest, Entry

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Any, jax.Array, Any], jax.Array]
"""From parameters, frames and initial state the outputs of all frames."""
Step = Callable[[Any, jax.Array, Any], tuple[jax.Array, Any]]


class Program:
    """A function of given arrays, compiled when it is first called."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments
        self.compiled: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Run it on the given arrays, or on others of the same shapes."""
        if self.compiled is None:
            self.compiled = jax.jit(self.function).lower(*(arguments or self.arguments)).compile()
        return jax.block_until_ready(self.compiled(*(arguments or self.arguments)))

    @property
    def bytes(self) -> int:
        """What it needs beside its arguments: temporary arrays and results."""
        if self.compiled is None:
            self()
        compiled: Any = self.compiled
        used = compiled.memory_analysis()
        return int(used.temp_size_in_bytes + used.output_size_in_bytes)


def enter(contest: Contest) -> None:
    """Enter convgru's function with each variant of options, its rivals, and the floor."""
    spec, params = contest.build()

    def ours(options: Mapping[str, Any]) -> Entry:
        def run(params: Any, x: jax.Array, state: Any) -> jax.Array:
            y: jax.Array = functional.apply(spec, params, x, state, **options)[0]
            return y

        def step(params: Any, x: jax.Array, state: Any) -> tuple[jax.Array, Any]:
            return functional.step(spec, params, x, state, **options)

        return entry(contest, run, params, lambda gradients: gradients, step)

    for name, options in contest.ours.items():
        contest.enter(name, lambda options=options: ours(options))  # type: ignore[misc]
    contest.enter("plain loop", lambda: plain_loop(contest))
    contest.enter("keras", lambda: _keras(contest))
    contest.enter("floor", lambda: floor(contest, Program))


def entry(
    contest: Contest,
    run: Run,
    params: Any,
    named: Callable[[Any], Arrays],
    step: Step | None = None,
    time_major: bool = True,
) -> Entry:
    """Enter a network given as functions, on the contest's numbers.

    Args:
        contest: the numbers.
        run: the whole sequence.
        params: a tree of arrays, its first argument.
        named: gradients of ``params``, in NumPy, by canonical name.
        step: one frame; only where the contest is streaming.
        time_major: whether frames are (T, B, *S, C), not (B, T, *S, C).
    """
    x, cotangent = (jnp.asarray(_images(contest, a, time_major)) for a in (contest.x, contest.cotangent))
    state = None if contest.state is None else tuple(jnp.asarray(np.moveaxis(h, 1, -1)) for h in contest.state)
    jax.eval_shape(run, params, x, state)  # wrong options are errors here

    def arrays(forward: Any, training: Any) -> Arrays:
        y = np.asarray(jnp.stack(forward) if isinstance(forward, list) else forward)
        output = np.moveaxis(y if time_major else y.swapaxes(0, 1), -1, 2)
        return {"output": output, **({} if training is None else named(jax.tree.map(np.asarray, training[1])))}

    if contest.workload.streaming:
        assert step is not None
        return contest.entry(_streaming(contest, step, params, x), arrays=arrays)

    def loss(params: Any, x: jax.Array, state: Any) -> jax.Array:
        return jnp.vdot(run(params, x, state), cotangent)

    programs = {
        "forward": Program(run, params, x, state),
        "training": Program(jax.value_and_grad(loss), params, x, state),
    }

    def saved_bytes() -> int:
        def pull(params: Any, x: jax.Array) -> Any:
            return jax.vjp(lambda params: run(params, x, state), params)[1]

        known = [leaf.shape for leaf in jax.tree.leaves((params, x))]
        kept = [leaf for leaf in jax.tree.leaves(jax.eval_shape(pull, params, x)) if leaf.shape not in known]
        return sum(prod(leaf.shape) * leaf.dtype.itemsize for leaf in kept)

    return contest.entry(
        programs["forward"], programs["training"], arrays, saved_bytes, lambda measure: programs[measure].bytes
    )


def _images(contest: Contest, array: np.ndarray, time_major: bool) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, 2, -1)) if time_major else contest.channels_last(array)


def _streaming(contest: Contest, step: Step, params: Any, x: jax.Array) -> Callable[[], list[jax.Array]]:
    """Frame after frame, each result awaited before the next is asked for."""
    zeros = functional.zero_state(contest.spec, x.shape[1], x.shape[2:-1])
    frames, program = list(x), Program(step)

    def forward() -> list[jax.Array]:
        outputs, state = [], zeros
        for frame in frames:
            y, state = program(params, frame, state)
            outputs.append(y)
        return outputs

    return forward


def plain_loop(contest: Contest) -> Entry:
    """The network as many write it: lax.scan of a convolution of [x, h], XLA's own derivatives."""
    params: Any = []
    for layer in contest.joined():
        params.append({n: jnp.asarray(np.moveaxis(a, (0, 1), (-1, -2)) if a.ndim > 1 else a) for n, a in layer.items()})
    axes, lstm = SPATIAL[contest.spec.ndim], contest.cell == "lstm"
    labels = (f"N{axes}C", f"{axes}IO", f"N{axes}C")

    def convolve(p: Any, name: str, *images: jax.Array) -> jax.Array:
        joined, ones = jnp.concatenate(images, -1), (1,) * contest.spec.ndim
        bias: jax.Array = p[f"{name}_bias"]
        return lax.conv_general_dilated(joined, p[name], ones, "SAME", dimension_numbers=labels) + bias

    def advance(p: Any, state: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        if lstm:
            h, c = state
            i, f, g, o = jnp.split(convolve(p, "gates", x, h), 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h
        r, z = jnp.split(jax.nn.sigmoid(convolve(p, "gates", x, state)), 2, -1)
        n = jnp.tanh(convolve(p, "candidate", x, r * state))
        h = z * state + (1 - z) * n
        return h, h

    def run(params: Any, x: jax.Array, state: Any) -> jax.Array:
        begin = functional.zero_state(contest.spec, x.shape[1], x.shape[2:-1]) if state is None else state
        for p, parts in zip(params, begin, strict=True):
            _, x = lax.scan(lambda parts, frame, p=p: advance(p, parts, frame), parts, x)  # type: ignore[misc]
        return x

    def step(params: Any, x: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        final = []
        for p, parts in zip(params, state, strict=True):
            parts, x = advance(p, parts, x)
            final.append(parts)
        return x, tuple(final)

    def named(gradients: Sequence[Arrays]) -> Arrays:
        turned = [{n: np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim > 1 else a for n, a in g.items()} for g in gradients]
        return contest.separated(turned)

    return entry(contest, run, params, named, step)


def _keras(contest: Contest) -> Entry:
    """Keras' own layers on JAX. Raises ImportError, ValueError where there are none."""
    layers = contest.keras_layers()
    params = [[jnp.asarray(a) for a in contest.keras_weights(index)] for index in range(len(layers))]

    def run(params: Any, x: jax.Array, state: Any) -> jax.Array:
        for layer, p in zip(layers, params, strict=True):
            x, _ = layer.stateless_call(p, [v.value for v in layer.non_trainable_variables], x)
        return x

    def named(gradients: Any) -> Arrays:
        return contest.from_keras([array for layer in gradients for array in layer])

    return entry(contest, run, params, named, time_major=False)
