"""Refuse pickles whose dict keys take long to hash, before anything unpickles them.

A tuple of two references to a tuple of two references … takes a few bytes a level, and twice the
time of the level below to hash. So the operations are followed with the number of parts that each
object on the stack consists of.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterable, Sequence
from typing import Any

MAX_PARTS = 100
"""How many objects, each counted as often as it is referred to, a key may consist of."""
_HELD = (
    "LIST",
    "DICT",
    "EMPTY_LIST",
    "EMPTY_DICT",
    "EMPTY_SET",
    "APPEND",
    "APPENDS",
    "SETITEM",
    "SETITEMS",
    "ADDITEMS",
)
"""Operations that leave an object on the stack which cannot be hashed."""
_STORE = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_FETCH = ("GET", "BINGET", "LONG_BINGET")


def check(operations: Iterable[tuple[pickletools.OpcodeInfo, Any]]) -> None:
    """Follow operations, each with its argument.

    Raises ValueError for a key of more than ``MAX_PARTS`` parts, or for no sound pickle.
    """
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[int, int] = {}
    for operation, argument in operations:
        name, before = operation.name, operation.stack_before
        if name == "MARK":
            marks.append(len(stack))
        elif name in _STORE:
            memo[len(memo) if name == "MEMOIZE" else int(argument or 0)] = stack[-1]
        elif name in _FETCH:
            stack.append(memo[int(argument or 0)])
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            fixed = before.index(pickletools.markobject) if pickletools.markobject in before else None
            keep = len(stack) - len(before) if fixed is None else marks.pop() - fixed
            if keep < 0:
                raise ValueError(f"expected {len(before)} objects for {name}, got {len(stack)}")
            if (largest := max(_keys(name, stack[keep:]), default=0)) > MAX_PARTS:
                raise ValueError(f"expected keys of at most {MAX_PARTS} parts, got one of {largest}")
            parts = 1 if name in _HELD else _parts(argument) + sum(stack[keep:])
            stack[keep:] = [min(parts, 1 << 30)] * len(operation.stack_after)


def _keys(name: str, items: Sequence[int]) -> Sequence[int]:
    """Select the objects that an operation hashes among those that it takes from the stack."""
    if name in ("SETITEM", "SETITEMS"):
        return items[1::2]
    if name == "DICT":
        return items[::2]
    return items[1:] if name == "ADDITEMS" else items if name == "FROZENSET" else ()


def _parts(argument: Any) -> int:
    """One for an object by itself; too many for an integer whose hash another one may have.

    Python hashes integers modulo 2**61 - 1: a dict of multiples of it takes quadratic time. A very
    long integer is also hashed anew each time.
    """
    return MAX_PARTS + 1 if isinstance(argument, int) and abs(argument) >= 1 << 60 else 1
