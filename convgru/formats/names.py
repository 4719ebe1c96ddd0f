"""Find names by how they begin without looking at all of them: a file may hold a hundred thousand.

The names of one prefix stand beside each other once all names are sorted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence


def below(names: Sequence[str], start: str) -> Iterator[str]:
    """Yield those of the sorted ``names`` that begin with ``start``."""
    at = bisect_left(names, start)
    while at < len(names) and names[at].startswith(start):
        yield names[at]
        at += 1


def outermost(starts: Iterable[str]) -> list[str]:
    """Return, sorted, the texts that do not begin with another one of them."""
    kept: list[str] = []
    for start in sorted(starts):
        if not kept or not start.startswith(kept[-1]):
            kept.append(start)
    return kept


def is_below(name: str, starts: Sequence[str]) -> bool:
    """Whether a name begins with one of ``starts``, which ``outermost`` returned."""
    at = bisect_right(starts, name)
    return at > 0 and name.startswith(starts[at - 1])
