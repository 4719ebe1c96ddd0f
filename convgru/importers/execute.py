"""Compute canonical arrays by a plan: in NumPy for imports, in a framework for drop-ins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from convgru.importers.plan import Block, Plan, Term

BATCH_NORM_EPS = 1e-5
"""PyTorch's default: no file holds it and no original changes it."""


class Numbers(Protocol):
    """The operations whose names differ between NumPy and the frameworks.

    Slices, signs, sums and ``reshape`` are written alike in all of them.
    """

    def permute(self, array: Any, axes: Sequence[int]) -> Any:
        """Return the array with its axes in another order."""
        ...

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        """Return the concatenation of arrays along an axis."""
        ...

    def zeros(self, shape: Sequence[int], like: Any) -> Any:
        """Return zeros with the dtype and device of another array."""
        ...

    def widen(self, array: Any) -> Any:
        """Return an array in the dtype in which sums and quotients are computed."""
        ...

    def narrow(self, array: Any, like: Any) -> Any:
        """Return an array in the dtype of ``like``."""
        ...


class _NumPy:
    """Sums in float64, rounded once."""

    def permute(self, array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
        return array.transpose(tuple(axes))

    def concatenate(self, arrays: Sequence[np.ndarray], axis: int) -> np.ndarray:
        return np.concatenate(list(arrays), axis)

    def zeros(self, shape: Sequence[int], like: np.ndarray) -> np.ndarray:
        return np.zeros(tuple(shape), like.dtype)

    def widen(self, array: np.ndarray) -> np.ndarray:
        return array.astype(np.float64)

    def narrow(self, array: np.ndarray, like: np.ndarray) -> np.ndarray:
        return array.astype(like.dtype)


NUMPY: Numbers = _NumPy()


def canonical(plan: Plan, arrays: Mapping[str, Any], numbers: Numbers = NUMPY) -> dict[str, Any]:
    """Compute the canonical arrays from foreign ones; all but slices and signs is rounded once."""
    like = next(arrays[term.name] for blocks in plan.values() for block in blocks for term in block.terms if term.name)
    result: dict[str, Any] = {}
    for name, blocks in plan.items():
        parts = [_block(block, arrays, numbers, like) for block in blocks]
        result[name] = parts[0] if len(parts) == 1 else numbers.concatenate(parts, 0)
    return result


def _block(block: Block, arrays: Mapping[str, Any], numbers: Numbers, like: Any) -> Any:
    if not block.terms:
        return numbers.zeros(block.shape, like)
    if len(block.terms) == 1 and block.terms[0].is_exact:
        return _cut(block.terms[0], arrays, numbers).reshape(block.shape)
    # Starting with a term, and not with zero, keeps the sign of -0.0.
    values: list[Any] = [_value(term, arrays, numbers) if term.name else term.constant for term in block.terms]
    total = values[0]
    for value in values[1:]:
        total = total + value
    if isinstance(total, float):  # constants alone
        total = numbers.widen(numbers.zeros(block.shape, like)) + total
    return numbers.narrow(total.reshape(block.shape), like)


def _value(term: Term, arrays: Mapping[str, Any], numbers: Numbers) -> Any:
    """A term in the wider dtype, with its norms folded in."""
    value = numbers.widen(_cut(term, arrays, numbers))
    if term.norm:
        gamma, variance = (
            numbers.widen(arrays[f"{term.norm}.{part}"])[term.rows] for part in ("weight", "running_var")
        )
        scale = gamma / (variance + BATCH_NORM_EPS) ** 0.5
        value = value * scale.reshape(-1, *(1,) * (value.ndim - 1))
    if term.spectral is not None:
        u, v = (numbers.widen(arrays[name]) for name in term.spectral)
        whole = numbers.widen(arrays[term.name])
        value = value / (u @ (whole.reshape(whole.shape[0], -1) @ v))
    return value


def _cut(term: Term, arrays: Mapping[str, Any], numbers: Numbers) -> Any:
    """The slice of a foreign array, its axes in canonical order."""
    array = arrays[term.name]
    if term.form == "kio":
        spatial = range(array.ndim - 2)
        array = numbers.permute(array, (array.ndim - 1, array.ndim - 2, *spatial))
    elif term.form == "1ok":
        array = array[0]
    if term.groups > 1:
        array = dense(array, term.groups, numbers)
    array = array[term.rows]
    if term.columns is not None:
        array = array[:, term.columns]
    return -array if term.negative else array


def dense(array: Any, groups: int, numbers: Numbers = NUMPY) -> Any:
    """Return a grouped convolution's weights, (rows, in/groups, *k), as dense ones, with zeros."""
    rows, columns = array.shape[0] // groups, array.shape[1]
    bands = []
    for group in range(groups):
        block = array[group * rows : (group + 1) * rows]
        parts = [
            block if at == group else numbers.zeros((rows, columns, *array.shape[2:]), array) for at in range(groups)
        ]
        bands.append(numbers.concatenate(parts, 1))
    return numbers.concatenate(bands, 0)
