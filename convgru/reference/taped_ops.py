"""The reference's operations on ``Tensor``, with derivatives by hand, and optionally with rounding.

With a ``Rounding`` the results of convolutions, norms and activations, and every new state, are
disturbed as rounding would disturb them; ``convgru.reference.tape.backward`` does the same to every
adjoint. All arrays have a leading axis of copies, each of which is disturbed differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from convgru.reference import ops
from convgru.reference.ops import Kernel, NormPart, Params
from convgru.reference.rounding import Rounding
from convgru.reference.tape import Adjoint, Tensor
from convgru.spec.convolution import Convolution

BLOCK = 16
"""Number of terms of a convolution's sum between two looks at the partial sum."""
DERIVATIVES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "tanh": lambda a, y: 1 - y * y,
    "sigmoid": lambda a, y: y * (1 - y),
    "relu": lambda a, y: np.where(a <= 0, 0.0, 1.0),
    "leaky_relu": lambda a, y: np.where(a <= 0, 0.01, 1.0),
    "hard_sigmoid": lambda a, y: np.where(np.abs(a) >= 3.0, 0.0, 1 / 6),
    "hard_sigmoid_0.2": lambda a, y: np.where(np.abs(a) >= 2.5, 0.0, 0.2),
}
"""Derivatives of the activations, from argument and result.

On which side of a kink a number lies only the argument says: a clipped result of 1 that rounding
disturbs would seem to lie below it.
"""


class TapedOps:
    """``convgru.reference.ops`` for tensors, with derivatives and, if asked for, rounding."""

    prepare = staticmethod(ops.prepare)
    prepare_readout = staticmethod(ops.prepare_readout)
    pool = staticmethod(ops.pool)
    patch = staticmethod(ops.patch)
    split = staticmethod(ops.split)
    split_rz_n = staticmethod(ops.split_rz_n)
    concat = staticmethod(ops.concat)
    unpatch = staticmethod(ops.unpatch)

    def __init__(self, rounding: Rounding | None = None) -> None:
        self.rounding = rounding

    def conv(self, x: Any, p: Params, name: str) -> Tensor:
        """Cross-correlation, as one matrix product for each group."""
        kernel: Any = p[name]
        assert isinstance(kernel, Kernel)
        x = x if isinstance(x, Tensor) else Tensor(x)
        matrix: Tensor = kernel.matrix  # type: ignore[assignment]
        view = _Windows(x.shape, kernel.geometry)
        across = matrix.value[:, None]  # the same for every sample
        columns = view.columns(x.value)
        product = columns @ across
        if self.rounding is not None:
            largest = _largest_partial_sum(columns, across)
            product = self.rounding.sum(product, columns**2 @ across**2, columns.shape[-1], 1.0, largest)

        def to_input(adjoint: Adjoint) -> Adjoint:
            rows, back = view.rows(adjoint.value), across.swapaxes(-1, -2)
            value = view.scatter(rows @ back)
            if adjoint.squares is None:
                return Adjoint(value)
            terms = rows.shape[-1] * prod(kernel.geometry.kernel_size)
            return Adjoint(value, view.scatter(rows**2 @ back**2), terms)

        def to_matrix(adjoint: Adjoint) -> Adjoint:
            rows, down = view.rows(adjoint.value), view.columns(x.value).swapaxes(-1, -2)
            value = (down @ rows).sum(1)
            if adjoint.squares is None:
                return Adjoint(value)
            return Adjoint(value, (down**2 @ rows**2).sum(1), rows.shape[1] * rows.shape[-2])

        return Tensor(view.image(product), [(x, to_input), (matrix, to_matrix)])

    def peep(self, c: Tensor, p: Params, name: str) -> Tensor:
        """P·c: a product, or a convolution."""
        weights: Any = p[name]
        return self.conv(c, p, name) if isinstance(weights, Kernel) else c * weights

    def add_channel(self, a: Tensor, p: Params, name: str) -> Tensor:
        """Add a vector along the channels."""
        vector: Any = p[name]
        total: Tensor = a + vector
        return total

    def norm(self, a: Tensor, p: Params, part: str) -> Tensor:
        """Group norm over space and the channels of each group, then weight and bias by channel."""
        affine: Any = p["norm_" + part]
        assert isinstance(affine, NormPart)
        axes = (*range(-(affine.ndim + 2), -2), -1)
        cut = a.value.reshape(*a.shape[:-1], affine.groups, -1)
        centred = cut - cut.mean(axis=axes, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + affine.eps)
        scaled = centred / deviation
        if self.rounding is not None:
            scaled = self.rounding.result(scaled)

        def pull(adjoint: Adjoint) -> Adjoint:
            g = adjoint.value.reshape(cut.shape)
            mean = g.mean(axis=axes, keepdims=True)
            slope = scaled * (g * scaled).mean(axis=axes, keepdims=True)
            value = ((g - mean - slope) / deviation).reshape(a.shape)
            if adjoint.squares is None:
                return Adjoint(value)
            return Adjoint(value, ((g**2 + mean**2 + slope**2) / deviation**2).reshape(a.shape), 3)

        normal = Tensor(scaled.reshape(a.shape), [(a, pull)])
        return normal * affine.weight + affine.bias

    def activation(self, name: str, a: Tensor) -> Tensor:
        """The activation called ``name``."""
        y = ops.activation(name, a.value)
        if self.rounding is not None:
            y = self.rounding.result(y)
        slope = DERIVATIVES[name](a.value, y)

        def pull(adjoint: Adjoint) -> Adjoint:
            value = adjoint.value * slope
            return Adjoint(value, None if adjoint.squares is None else value**2)

        before = Tensor(a.value, [(a, lambda adjoint: adjoint._replace(terms=0))], extra=1.0)
        return Tensor(y, [(before, pull)])

    def round_state(self, state: Tensor) -> Tensor:
        """Disturb a new state as rounding would; without a ``Rounding`` it is returned as it is."""
        if self.rounding is None:
            return state
        return Tensor(
            self.rounding.result(state.value), [(state, lambda adjoint: adjoint._replace(terms=0))], extra=1.0
        )


def _largest_partial_sum(columns: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Largest |partial sum| of ``columns @ across``, looked at after each ``BLOCK`` terms."""
    partial = largest = np.zeros(())
    for start in range(0, columns.shape[-1], BLOCK):
        terms = slice(start, start + BLOCK)
        partial = partial + columns[..., terms] @ across[..., terms, :]
        largest = np.maximum(largest, np.abs(partial))
    return largest


class _Windows:
    """Map a convolution's input to the rows of a matrix product, and the product to an image."""

    def __init__(self, shape: tuple[int, ...], geometry: Convolution) -> None:
        self.shape, self.geometry = shape, geometry
        self.index, self.size = _window_index(shape[2:], geometry)

    def columns(self, x: np.ndarray) -> np.ndarray:
        """Windows of (copies, B, *S, C) as (copies, B, groups, pixels, channels/groups · taps)."""
        flat = x.reshape(*x.shape[:2], -1)
        padded = np.concatenate([flat, np.zeros((*x.shape[:2], 1))], axis=-1)
        return np.take(padded, self.index, axis=-1)

    def scatter(self, columns: np.ndarray) -> np.ndarray:
        """The transpose of ``columns``: each number of a window goes back to its pixel."""
        width, places = prod(self.shape[2:]) + 1, self.index.ravel()
        images = columns.reshape(-1, places.size)
        sums = np.stack([np.bincount(places, weights=image, minlength=width) for image in images])
        return sums[:, :-1].reshape(self.shape)

    def image(self, product: np.ndarray) -> np.ndarray:
        """Turn (copies, B, groups, pixels, gates·rows) into (copies, B, *S, gates·groups·rows)."""
        cut = product.reshape(*product.shape[:-1], self.geometry.gates, -1)
        return np.moveaxis(cut, 2, 4).reshape(*self.shape[:2], *self.size, -1)

    def rows(self, image: np.ndarray) -> np.ndarray:
        """The inverse of ``image``."""
        geometry = self.geometry
        cut = image.reshape(*self.shape[:2], prod(self.size), geometry.gates, geometry.groups, -1)
        moved = np.moveaxis(cut, 4, 2)
        return moved.reshape(*moved.shape[:4], -1)


@lru_cache(maxsize=64)
def _window_index(shape: tuple[int, ...], geometry: Convolution) -> tuple[np.ndarray, tuple[int, ...]]:
    """Index of each number of ``columns`` in the raveled (*S, C), and the result's *S.

    Padding has the index one past the end.
    """
    pixels = np.arange(prod(shape), dtype=np.float64).reshape(1, *shape) + 1
    windows, size = ops.windows(pixels, geometry)
    index = np.where(windows == 0, prod(shape) + 1, windows) - 1
    return index.astype(np.intp), size[1:]
