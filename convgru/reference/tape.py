"""Reverse-mode differentiation of NumPy code.

A ``Tensor`` records its operands; ``backward`` visits them in reverse.

An adjoint is a sum of terms, and computers round each addition. So besides its value an ``Adjoint``
may carry the number of its terms and the sum of their squares, which tell
``convgru.reference.rounding`` how large the rounding error of this sum is in any program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from convgru.reference.rounding import Rounding

Array = np.ndarray


class Adjoint(NamedTuple):
    """Derivative of the result with respect to a tensor.

    Attributes:
        value: the derivative.
        squares: sum of the squares of its terms; None if rounding is not modelled.
        terms: number of its terms.
    """

    value: Array
    squares: Array | None = None
    terms: int = 1

    def map(self, change: Callable[[Array], Array]) -> Adjoint:
        """Rearrange: the same terms in other places."""
        return Adjoint(change(self.value), None if self.squares is None else change(self.squares), self.terms)


Pull = Callable[[Adjoint], Adjoint]
"""From the adjoint of a result to its share of the adjoint of one operand."""


class Tensor:
    """An array, and the operands that it was computed from.

    Args:
        value: the array.
        operands: each operand with the function that maps this tensor's adjoint to the operand's.
        moves: whether it only rearranges its operands' numbers, so that nothing is rounded.
        extra: added to the size of the rounding error of its adjoint, in eps.
    """

    __array_ufunc__ = None  # so that array * tensor asks the tensor

    def __init__(
        self, value: Array, operands: Sequence[tuple[Tensor, Pull]] = (), *, moves: bool = False, extra: float = 0.0
    ) -> None:
        self.value, self.operands, self.moves, self.extra = value, operands, moves, extra

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """Number of axes of the array."""
        return self.value.ndim

    def __len__(self) -> int:
        return len(self.value)

    def __add__(self, other: Any) -> Tensor:
        operands: list[tuple[Tensor, Pull]] = [(self, _summed(self.shape))]
        if isinstance(other, Tensor):
            operands.append((other, _summed(other.shape)))
        return Tensor(self.value + _value(other), operands)

    __radd__ = __add__

    def __rsub__(self, other: Any) -> Tensor:
        return Tensor(other - self.value, [(self, _scaled(np.float64(-1.0), self.shape))])

    def __mul__(self, other: Any) -> Tensor:
        operands: list[tuple[Tensor, Pull]] = [(self, _scaled(_value(other), self.shape))]
        if isinstance(other, Tensor):
            operands.append((other, _scaled(self.value, other.shape)))
        return Tensor(self.value * _value(other), operands)

    __rmul__ = __mul__

    def __matmul__(self, matrix: Array) -> Tensor:
        def pull(a: Adjoint) -> Adjoint:
            squares = None if a.squares is None else a.value**2 @ (matrix**2).T
            return Adjoint(a.value @ matrix.T, squares, matrix.shape[1])

        return Tensor(self.value @ matrix, [(self, pull)])

    def __getitem__(self, key: Any) -> Tensor:
        def back(a: Array) -> Array:
            whole = np.zeros(self.shape)
            whole[key] = a
            return whole

        return self.moved(self.value[key], back)

    def reshape(self, *shape: int) -> Tensor:
        """Rearrange the numbers in another shape."""
        return self.moved(self.value.reshape(*shape), lambda a: a.reshape(self.shape))

    def transpose(self, order: Sequence[int]) -> Tensor:
        """The axes in another order."""
        return self.moved(self.value.transpose(order), lambda a: a.transpose(np.argsort(order)))

    def moved(self, value: Array, back: Callable[[Array], Array]) -> Tensor:
        """A tensor that holds numbers of this one, each at most once, in other places."""
        return Tensor(value, [(self, lambda adjoint: adjoint.map(back))], moves=True)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in FUNCTIONS:
            return NotImplemented
        return FUNCTIONS[function](*args, **kwargs)


def _value(a: Any) -> Any:
    return a.value if isinstance(a, Tensor) else a


def _summed(shape: tuple[int, ...]) -> Pull:
    return lambda adjoint: _reduced(adjoint.value, adjoint.squares is not None, shape)


def _scaled(factor: Any, shape: tuple[int, ...]) -> Pull:
    return lambda adjoint: _reduced(adjoint.value * factor, adjoint.squares is not None, shape)


def _reduced(terms: Array, rounded: bool, shape: tuple[int, ...]) -> Adjoint:
    """The sum of terms over the axes along which an operand of ``shape`` was broadcast."""
    axes = tuple(i for i, (n, m) in enumerate(zip(terms.shape, shape, strict=True)) if n != m)
    squares = terms**2 if rounded else None
    if not axes:
        return Adjoint(terms, squares)
    count = int(np.prod([terms.shape[axis] for axis in axes]))
    total = terms.sum(axis=axes, keepdims=True)
    return Adjoint(total, None if squares is None else squares.sum(axis=axes, keepdims=True), count)


def _where(chosen: Array, yes: Any, no: Any) -> Tensor:
    sides = [(yes, lambda a: np.where(chosen, a, 0.0)), (no, lambda a: np.where(chosen, 0.0, a))]
    operands: list[tuple[Tensor, Pull]] = [
        (side, lambda adjoint, back=back: adjoint.map(back))  # type: ignore[misc]
        for side, back in sides
        if isinstance(side, Tensor)
    ]
    return Tensor(np.where(chosen, _value(yes), _value(no)), operands, moves=True)


def _joined(tensors: Sequence[Any], value: Array, pick: Callable[[Array, int], Array]) -> Tensor:
    operands: list[tuple[Tensor, Pull]] = [
        (tensor, lambda adjoint, i=i: adjoint.map(lambda a: pick(a, i)))  # type: ignore[misc]
        for i, tensor in enumerate(tensors)
        if isinstance(tensor, Tensor)
    ]
    return Tensor(value, operands, moves=True)


def _stack(tensors: Sequence[Any], axis: int) -> Tensor:
    value = np.stack([_value(t) for t in tensors], axis)
    return _joined(tensors, value, lambda a, i: np.take(a, i, axis))


def _concatenate(tensors: Sequence[Any], axis: int) -> Tensor:
    value = np.concatenate([_value(t) for t in tensors], axis)
    cuts = np.cumsum([t.shape[axis] for t in tensors])[:-1]
    return _joined(tensors, value, lambda a, i: np.split(a, cuts, axis)[i])


def _split(a: Tensor, parts: int, axis: int) -> list[Tensor]:
    assert axis == -1
    width = a.shape[-1] // parts
    return [a[..., i * width : (i + 1) * width] for i in range(parts)]


def _same_shapes(*tensors: Any) -> list[Any]:
    assert len({t.shape for t in tensors}) == 1
    return list(tensors)


def _broadcast_to(a: Tensor, shape: tuple[int, ...]) -> Tensor:
    assert a.shape == tuple(shape)
    return a


FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    np.moveaxis: lambda a, i, j: a.moved(np.moveaxis(a.value, i, j), lambda b: np.moveaxis(b, j, i)),
    np.swapaxes: lambda a, i, j: a.moved(np.swapaxes(a.value, i, j), lambda b: np.swapaxes(b, i, j)),
    np.expand_dims: lambda a, axis: a.moved(np.expand_dims(a.value, axis), lambda b: np.squeeze(b, axis)),
    np.zeros_like: lambda a: np.zeros(a.shape),
    np.where: _where,
    np.stack: _stack,
    np.concatenate: _concatenate,
    np.split: _split,
    np.broadcast_arrays: _same_shapes,
    np.broadcast_to: _broadcast_to,
}
"""NumPy's functions for tensors, as far as the reference uses them."""


def backward(results: Iterable[tuple[Tensor, Array]], rounding: Rounding | None = None) -> dict[Tensor, Array]:
    """Derivatives, with respect to every tensor without operands, of Σ result·cotangent.

    With ``rounding`` every adjoint is disturbed as rounding would disturb it.
    """
    pending: dict[Tensor, Adjoint] = {}
    for tensor, cotangent in results:
        squares = None if rounding is None else np.zeros(tensor.shape)  # a cotangent is given, not computed
        _add(pending, tensor, Adjoint(np.broadcast_to(cotangent, tensor.shape), squares, 0))
    leaves: dict[Tensor, Array] = {}
    for tensor in reversed(_ordered(pending)):
        adjoint = pending.pop(tensor)
        if rounding is not None and not tensor.moves:
            assert adjoint.squares is not None
            value = rounding.sum(adjoint.value, adjoint.squares, adjoint.terms, tensor.extra)
            adjoint = adjoint._replace(value=value)
        for operand, pull in tensor.operands:
            _add(pending, operand, pull(adjoint))
        if not tensor.operands:
            leaves[tensor] = adjoint.value
    return leaves


def _add(pending: dict[Tensor, Adjoint], tensor: Tensor, more: Adjoint) -> None:
    if tensor not in pending:
        pending[tensor] = more
        return
    old = pending[tensor]
    squares = None if old.squares is None or more.squares is None else old.squares + more.squares
    pending[tensor] = Adjoint(old.value + more.value, squares, old.terms + more.terms)


def _ordered(results: Iterable[Tensor]) -> list[Tensor]:
    """Sort everything that the results depend on, each tensor after its operands."""
    ordered: dict[Tensor, None] = {}
    stack = [(tensor, False) for tensor in results]
    while stack:
        tensor, ready = stack.pop()
        if ready:
            ordered[tensor] = None
        elif tensor not in ordered:
            stack.append((tensor, True))
            stack.extend((operand, False) for operand, _ in tensor.operands if operand not in ordered)
    return list(ordered)
