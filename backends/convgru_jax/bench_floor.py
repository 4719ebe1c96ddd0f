"""The floor of ``convgru bench`` in JAX: the convolutions that no implementation can avoid.

Forward the convolution of the input over all frames at once, and those of the state in a scan. In
training also the gradient of each step's state in a scan, the gradient of a layer's input for all
layers but the first, and the gradients of the weights, the last two over all frames at once. The
numbers are any. The convolutions are convgru's own, which have labels that XLA:CPU runs fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
from jax import lax
from jax import numpy as jnp

from convgru.spec.convolution import Convolution
from convgru_jax.convolution import convolve

if TYPE_CHECKING:
    from convgru.bench.contest import Contest, Entry


@dataclass(frozen=True)
class Piece:
    """One kernel of a layer: its geometry, and how many channels it reads and makes."""

    geometry: Convolution
    channels: int
    rows: int

    def forward(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Convolve."""
        return convolve("fast", self.geometry, x, w)

    def to_input(self, x: jax.Array, w: jax.Array, g: jax.Array) -> jax.Array:
        """Gradient of the input; XLA leaves out the forward pass, which it does not need."""
        gradient: jax.Array = jax.vjp(lambda x: self.forward(x, w), x)[1](g)[0]
        return gradient

    def to_weight(self, x: jax.Array, w: jax.Array, g: jax.Array) -> jax.Array:
        """Gradient of the kernel."""
        gradient: jax.Array = jax.vjp(lambda w: self.forward(x, w), w)[1](g)[0]
        return gradient


def floor(contest: Contest, program: Callable[..., Any]) -> Entry:
    """Enter the convolutions; ``program`` compiles a function of given arrays."""
    work, layers = contest.workload, [*_layers(contest)]
    images = {
        c: jnp.ones((work.time, work.batch, *work.size, c))
        for layer in layers
        for piece in layer
        for c in (piece.channels, piece.rows)
    }
    kernels = [[jnp.ones((*p.geometry.kernel_size, p.channels, p.rows)) for p in layer] for layer in layers]
    whole = program(partial(_forward, layers), images, kernels)
    if not work.streaming:
        return contest.entry(whole, program(partial(_training, layers), images, kernels))
    single = {channels: image[:1] for channels, image in images.items()}
    one = program(partial(_forward, layers), single, kernels)
    return contest.entry(lambda: [one() for _ in range(work.time)])


def _layers(contest: Contest) -> Iterator[list[Piece]]:
    """The input's convolution of each layer, then those of its state."""
    for cell in contest.spec.layers:
        hidden = cell.hidden_channels
        parts = (4 * hidden,) if cell.cell == "lstm" else (2 * hidden, hidden)
        recurrent = [Piece(cell.recurrent_convolution(rows // hidden), hidden, rows) for rows in parts]
        yield [Piece(cell.input_convolution, cell.in_channels, sum(parts)), *recurrent]


def _forward(layers: list[list[Piece]], images: Any, kernels: Any) -> list[jax.Array]:
    results = []
    for (whole, *parts), (w_ih, *ws) in zip(layers, kernels, strict=True):
        results.append(_any(whole.forward(_flat(images[whole.channels]), w_ih)))

        def step(carry: None, h: jax.Array, parts: Any = parts, ws: Any = ws) -> tuple[None, list[jax.Array]]:
            return carry, [_any(part.forward(h, w)) for part, w in zip(parts, ws, strict=True)]

        results += lax.scan(step, None, images[parts[0].channels])[1]
    return results


def _training(layers: list[list[Piece]], images: Any, kernels: Any) -> list[jax.Array]:
    results = _forward(layers, images, kernels)
    for index, ((whole, *parts), (w_ih, *ws)) in enumerate(zip(layers, kernels, strict=True)):
        h = images[parts[0].channels]

        def step(carry: None, given: Any, parts: Any = parts, ws: Any = ws) -> tuple[None, list[jax.Array]]:
            h, *gs = given
            return carry, [_any(part.to_input(h, w, g)) for part, w, g in zip(parts, ws, gs, strict=True)]

        results += lax.scan(step, None, (h, *(images[part.rows] for part in parts)), reverse=True)[1]
        pairs = [(whole, images[whole.channels], w_ih)] + [(p, h, w) for p, w in zip(parts, ws, strict=True)]
        results += [piece.to_weight(_flat(x), w, _flat(images[piece.rows])) for piece, x, w in pairs]
        if index > 0:
            results.append(_any(whole.to_input(_flat(images[whole.channels]), w_ih, _flat(images[whole.rows]))))
    return results


def _flat(images: jax.Array) -> jax.Array:
    """All frames in one batch."""
    return images.reshape(-1, *images.shape[2:])


def _any(image: jax.Array) -> jax.Array:
    """One number of a result, so that it is computed and nothing else is."""
    return image.ravel()[0]
