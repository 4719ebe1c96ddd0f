"""What else stands in the modules that hold a network: arrays that its layout has no place for make it another one."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from convgru.importers.hints import NoFitError
from convgru.importers.match import Match, some


def check_neighbours(found: Match, names: Sequence[str]) -> None:
    """Raise NoFitError if the modules that hold the cells hold arrays that the layout has no place for.

    ``names`` are those of all arrays, sorted. What stands in other modules is nobody's business here.
    """
    claims, strange = found.claims, []
    strays = [re.compile(stray) for stray in found.layout.strays]
    for home, deep in sorted(_homes(found)):
        at = bisect_left(names, home)
        while at < len(names) and names[at].startswith(home):
            name = names[at]
            at += 1
            if name in claims or (not deep and re.search(r"[./]", name[len(home) :])):
                continue
            if not any(stray.fullmatch(name[len(found.prefix) :]) for stray in strays):
                strange.append(name)
    if strange:
        raise NoFitError(f"it has no place for {some(sorted(set(strange)))}")


def _homes(found: Match) -> set[tuple[str, bool]]:
    """How the names of the modules begin that hold the cells, and whether all below them is theirs."""
    homes: set[tuple[str, bool]] = set()
    for layer in range(len(found.spec.layers)):
        for direction in range(len(found.spec.directions)):
            fill = found.filler(layer + found.first, direction)
            for piece in found.pieces:
                modules = re.split(r"(?<=[./])", piece.key)
                last = max((index for index, module in enumerate(modules) if "{" in module), default=-1)
                if last == len(modules) - 1 and last >= 0:  # the layer's number is in the array's own name
                    homes.add((fill("".join(modules[:-1])) or found.prefix, False))
                elif piece.key:
                    homes.add((fill("".join(modules[: last + 1])) or found.prefix, True))
    return homes
