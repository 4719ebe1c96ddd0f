"""Reject a match if its modules also hold arrays that the layout does not account for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from convgru.formats.names import below
from convgru.importers.hints import NoFitError
from convgru.importers.match import Match, some


def check_unclaimed(match: Match, names: Sequence[str]) -> None:
    """Raise NoFitError if the cells' modules hold arrays that the layout has no place for.

    ``names`` are those of all arrays, sorted. Arrays of other modules are ignored.
    """
    claims, unclaimed = match.claims, []
    strays = [re.compile(stray) for stray in match.layout.strays]
    for home, deep in sorted(_homes(match)):
        for name in below(names, home):
            if name in claims or (not deep and re.search(r"[./]", name[len(home) :])):
                continue
            if not any(stray.fullmatch(name[len(match.prefix) :]) for stray in strays):
                unclaimed.append(name)
    if unclaimed:
        raise NoFitError(f"it has no place for {some(sorted(set(unclaimed)))}")


def _homes(match: Match) -> set[tuple[str, bool]]:
    """Modules in which every array must be accounted for.

    Of each, the prefix, and whether everything below it counts, or only names with a layer's
    number.
    """
    homes: set[tuple[str, bool]] = set()
    for layer in range(len(match.spec.layers)):
        for direction in range(len(match.spec.directions)):
            fill = match.filler(layer + match.first, direction)
            for piece in match.pieces:
                modules = re.split(r"(?<=[./])", piece.key)
                last = max((index for index, module in enumerate(modules) if "{" in module), default=-1)
                if last == len(modules) - 1 and last >= 0:  # the layer's number is in the array's own name
                    homes.add((fill("".join(modules[:-1])) or match.prefix, False))
                elif piece.key:
                    homes.add((fill("".join(modules[: last + 1])) or match.prefix, True))
    return homes
