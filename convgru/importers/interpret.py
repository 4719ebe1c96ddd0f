"""Execute a plan with the operations of NumPy, or of a framework that brings its own ``Numbers``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from convgru.importers.plan import Plan, Term

BATCH_NORM_EPS = 1e-5
"""PyTorch's default, which no file holds and no original changes."""


class Numbers(Protocol):
    """The operations that array libraries spell differently; slices, signs, ``+ * / ** @`` and ``reshape`` are the same in all.

    ``widen`` gives the dtype in which sums and folds are computed, and ``narrow`` rounds to that of ``like``: a library that
    computes in its own dtype returns the array as it is.
    """

    def permute(self, array: Any, axes: Sequence[int]) -> Any:
        """The array with its axes in this order."""

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        """The arrays one after the other along an axis."""

    def zeros(self, shape: Sequence[int], like: Any) -> Any:
        """Zeros of the dtype, and on the device, of another array."""

    def widen(self, array: Any) -> Any:
        """The array in the dtype of sums and folds."""

    def narrow(self, array: Any, like: Any) -> Any:
        """The array rounded to the dtype of another."""


class _NumPy:
    def permute(self, array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        return array.transpose(axes)

    def concatenate(self, arrays: Sequence[np.ndarray], axis: int) -> np.ndarray:
        return np.concatenate(arrays, axis)

    def zeros(self, shape: Sequence[int], like: np.ndarray) -> np.ndarray:
        return np.zeros(shape, like.dtype)

    def widen(self, array: np.ndarray) -> np.ndarray:
        return array.astype(np.float64)

    def narrow(self, array: np.ndarray, like: np.ndarray) -> np.ndarray:
        return array.astype(like.dtype)


NUMPY: Numbers = _NumPy()
"""Sums and folds in float64, rounded once."""


def canonical(plan: Plan, arrays: Mapping[str, Any], numbers: Numbers = NUMPY) -> dict[str, Any]:
    """The canonical arrays of a plan: ``arrays`` are the foreign ones, by the names in it. Byte-exact where all is slices and signs."""
    like = next(arrays[term.name] for blocks in plan.values() for terms in blocks for term in terms if term.name)
    return {
        name: _concatenated([_sum(terms, arrays, numbers, like) for terms in blocks], numbers)
        for name, blocks in plan.items()
    }


def oriented(array: Any, term: Term, numbers: Numbers = NUMPY) -> Any:
    """The array with its axes in our order: (out, in, *kernel), or (out, *size)."""
    axes = len(array.shape)
    if term.form == "kio":
        return numbers.permute(array, (axes - 1, axes - 2, *range(axes - 2)))
    if term.form == "oi":
        return array.reshape(*array.shape, *(1,) * term.ones)
    return array[0] if term.form == "1ok" else array


def dense(array: Any, groups: int, numbers: Numbers = NUMPY) -> Any:
    """The weights of a grouped convolution, (rows, in / groups, *k), as those of one without groups: zeros fill the rest."""
    if groups == 1:
        return array
    rows, columns, kernel = array.shape[0] // groups, array.shape[1], array.shape[2:]
    bands: list[Any] = []
    for group in range(groups):
        widths = (group * columns, (groups - 1 - group) * columns)
        left, right = ([numbers.zeros((rows, width, *kernel), array)] if width else [] for width in widths)
        own = array[group * rows : (group + 1) * rows]
        bands.append(numbers.concatenate([*left, own, *right], 1))
    return numbers.concatenate(bands, 0)


def _concatenated(blocks: Sequence[Any], numbers: Numbers) -> Any:
    there = next(block for block in blocks if block is not None)
    return numbers.concatenate([numbers.zeros(there.shape, there) if b is None else b for b in blocks], 0)


def _sum(terms: Sequence[Term], arrays: Mapping[str, Any], numbers: Numbers, like: Any) -> Any:
    """The sum of the terms, or None where there are none."""
    if not terms:
        return None
    if len(terms) == 1 and terms[0].is_exact:
        return _block(terms[0], arrays, numbers)
    total = _folded(terms[0], arrays, numbers, like)
    for term in terms[1:]:
        total = total + _folded(term, arrays, numbers, like)
    return numbers.narrow(total, like)


def _folded(term: Term, arrays: Mapping[str, Any], numbers: Numbers, like: Any) -> Any:
    """A term in the wide dtype, with its batch norm, spectral norm and constant."""
    if not term.name:
        return numbers.widen(numbers.zeros((term.rows.stop - term.rows.start,), like)) + term.constant
    block = numbers.widen(_block(term, arrays, numbers))
    if term.norm:
        gamma, variance = (
            numbers.widen(arrays[f"{term.norm}.{part}"][term.rows]) for part in ("weight", "running_var")
        )
        scale = gamma / (variance + BATCH_NORM_EPS) ** 0.5
        block = block * scale.reshape(-1, *(1,) * (len(block.shape) - 1))
    if term.spectral:
        whole, u, v = (numbers.widen(arrays[name]) for name in (term.name, *term.spectral))
        block = block / (u @ (whole.reshape(whole.shape[0], -1) @ v))
    return block + term.constant if term.constant else block


def _block(term: Term, arrays: Mapping[str, Any], numbers: Numbers) -> Any:
    """Where the term stands in its array, with its sign."""
    array = dense(oriented(arrays[term.name], term, numbers), term.groups, numbers)
    block = array[term.rows] if term.columns is None else array[term.rows, term.columns]
    return -block if term.negative else block
