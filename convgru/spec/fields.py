"""Check single fields of a spec; an error says what was expected and what came."""

from __future__ import annotations

from collections.abc import Collection, Sequence

LARGEST = 2**31 - 1
"""Limit on every number in a spec; no image and no kernel has more pixels in a dimension."""


def is_size(value: object) -> bool:
    """Whether ``value`` is an integer from 0 to ``LARGEST``, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def positive(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is an integer from 1 to ``LARGEST``."""
    if not is_size(value) or value == 0:
        bound = f" of at most {LARGEST}" if type(value) is int and value > LARGEST else ""
        raise ValueError(f"{name} expected a positive integer{bound}, got {value!r:.40}")


def sizes(name: str, value: object, ndim: int) -> None:
    """Raise ValueError unless ``value`` is a tuple of one positive integer for each dimension."""
    if not isinstance(value, (tuple, list)):  # a number, of which the builders make a tuple
        raise ValueError(f"{name} expected a number or a tuple of {ndim} (ndim), got {value!r}")
    if not isinstance(value, tuple) or len(value) != ndim:
        raise ValueError(f"{name} expected a tuple of {ndim} (ndim), got {value!r}")
    for number in value:
        positive(name, number)


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if type(value) not in {type(choice) for choice in choices} or value not in choices:  # 2.0 is not 2 here
        raise ValueError(f"{name} expected one of {', '.join(map(repr, choices))}, got {value!r}")


def flag(name: str, value: object) -> None:
    """Raise TypeError unless ``value`` is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} expected True or False, got {value!r}")


def probability(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{name} expected a probability in [0, 1), got {value!r}")


def name_differences(expected: Collection[str], given: Collection[str]) -> str:
    """Say which names are missing and which unexpected; empty if the names are the same."""
    sides = {"missing": set(expected) - set(given), "unexpected": set(given) - set(expected)}
    return "; ".join(f"{side} {_listed(names)}" for side, names in sides.items() if names)


def _listed(names: Collection[str], most: int = 8) -> str:
    """The names in order, the first ``most`` of them spelled out."""
    shown = sorted(map(str, names))
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
