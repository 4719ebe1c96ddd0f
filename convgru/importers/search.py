"""Find every network among arrays that may hold much else, by names and shapes alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from convgru.importers.hints import NoFitError, spread
from convgru.importers.layout import Layout, Piece, ending, pattern
from convgru.importers.match import Match, Shape, Where, match, some
from convgru.importers.tables import REFUSALS
from convgru.importers.unclaimed import check_neighbours

Configs = Mapping[str, Mapping[str, Any]]
"""What a file says of the layers whose arrays' names begin so: constructor arguments."""


@dataclass
class Sighting:
    """What was seen of one layout below one prefix."""

    parts: dict[Where, list[Piece]] = field(default_factory=dict)
    words: dict[Where, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """The networks among some arrays, which arrays are none of theirs, and what looked like a network and is not."""

    matches: tuple[Match, ...]
    left: tuple[str, ...]
    reasons: tuple[str, ...]
    others: tuple[Match, ...] = ()
    """What would be networks too, none of whose arrays the ``matches`` read, were it not for the hints."""


def search(
    shapes: Mapping[str, Shape],
    layouts: Sequence[Layout],
    hints: Mapping[str, Any],
    configs: Configs,
    prefix: str | None = None,
    *,
    named: bool = False,
) -> Findings:
    """Every network in one of the layouts whose names begin with ``prefix``; ``named`` if the caller named the layout."""
    names, hints = sorted(shapes), spread(hints)
    wanted = [name for name in names if begins(name, prefix)]
    fitting: list[Match] = []
    others: list[Match] = []
    reasons: list[tuple[frozenset[str], str]] = [(frozenset(), each) for each in _refusals(wanted)]
    broken: dict[str, list[frozenset[str]]] = defaultdict(list)
    for layout, start, seen in _sightings(layouts, wanted):
        if layout.inside and not named and prefix is None and not re.fullmatch(layout.inside, start, re.DOTALL):
            continue
        if _is_shorter(layout, seen):
            continue
        config = _config(configs, start, layout)
        try:
            fitting.append(_fit(layout, start, seen, shapes, names, {**config, **hints}))
        except NoFitError as error:
            broken[start].append(frozenset(seen.names))
            why = f"  {layout.name} ({layout.title}), from {some(sorted(set(seen.names)))}: {error}"
            reasons.append((broken[start][-1], why))
            with suppress(NoFitError):
                only = {**config, **_choosing(layout, hints)}
                others += [_fit(layout, start, seen, shapes, names, only)] if hints else []
    if named and not reasons and not fitting:
        absent = (f"  {each.name} ({each.title}): no array is called like {each.example!r}" for each in layouts)
        reasons = [(frozenset(), each) for each in absent]
    matches = tuple(found for found in _largest(fitting) if not _is_part(found, broken))
    claimed = {name for found in matches for name in found.claims}
    left = tuple(name for name in names if name not in claimed)
    more = tuple(found for found in _largest(others) if claimed.isdisjoint(found.claims))
    # What a network was read from is no riddle, whatever else its names look like.
    told = tuple(reason for seen_in, reason in reasons if not seen_in or not seen_in <= claimed)
    return Findings(matches, left, told, more)


def _fit(
    layout: Layout,
    start: str,
    seen: Sighting,
    shapes: Mapping[str, Shape],
    names: Sequence[str],
    hints: Mapping[str, Any],
) -> Match:
    """The network that was sighted. Raises NoFitError; ``names`` are those of all arrays, sorted."""
    found = match(layout, start, seen.parts, shapes, hints, seen.words)
    check_neighbours(found, names)
    return found


def _choosing(layout: Layout, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The hints that choose a network, and do not describe it."""
    return {"layer": hints["layer"]} if layout.separate and "layer" in hints else {}


def _is_shorter(layout: Layout, seen: Sighting) -> bool:
    """Whether nothing was seen of a whole update of the state: other layouts have one update (torchvision's small RAFT)."""
    there = {piece.target.rpartition(".")[0] for pieces in seen.parts.values() for piece in pieces}
    return there != {piece.target.rpartition(".")[0] for piece in layout.pieces}


def _refusals(names: Sequence[str]) -> Iterator[str]:
    """What names tell of networks that look like one of the layouts and are none."""
    for refusal in REFUSALS:
        told = [name for name in names if re.search(refusal.key, name)]
        if told:
            yield f"  {refusal.title}, from {some(told)}: {refusal.reason}"


def begins(name: str, prefix: str | None) -> bool:
    """Whether a name begins with the name of a module, with or without the separator behind it."""
    if not prefix:
        return True
    return name.startswith(prefix) and (
        prefix[-1] in "./_" or name[len(prefix) : len(prefix) + 1] in ("", ".", "/", "_")
    )


def _sightings(layouts: Sequence[Layout], names: Sequence[str]) -> Iterator[tuple[Layout, str, Sighting]]:
    """Each layout and prefix of which some name was seen."""
    by_ending: dict[str, list[tuple[Layout, Piece]]] = defaultdict(list)
    for layout in layouts:
        for piece in layout.pieces:
            if piece.key:
                by_ending[ending(piece.key)].append((layout, piece))
    endings = tuple(text for text in by_ending if text)
    found: dict[tuple[str, str, int], tuple[Layout, Sighting]] = {}
    for name in names:
        candidates = list(by_ending.get("", ())) if re.search(r"_l[0-9]", name[-32:]) else []
        if name.endswith(endings):  # one call for all: most names of a large model end otherwise
            candidates += [pair for text in endings if name.endswith(text) for pair in by_ending[text]]
        for layout, piece in candidates:
            hit = pattern(piece.key, layout.directions, layout.ends).fullmatch(name)
            if hit:
                _note(found, layout, piece, name, hit.groupdict())
    for (_, start, _), (layout, seen) in found.items():
        yield layout, start, seen


def _note(found: dict[Any, Any], layout: Layout, piece: Piece, name: str, groups: Mapping[str, str | None]) -> None:
    layer = int(groups.get("layer") or 0)
    where = layer, layout.directions.index(groups.get("dir") or layout.directions[0])
    key = layout.name, groups["prefix"] or "", layer if layout.separate else 0
    _, seen = found.setdefault(key, (layout, Sighting()))
    seen.parts.setdefault(where, []).append(piece)
    seen.names.append(name)
    if groups.get("any"):
        seen.words[where] = groups["any"]


def _config(configs: Configs, start: str, layout: Layout) -> dict[str, Any]:
    """What the file says of the layer below a prefix, as far as the layout asks."""
    own = next((config for at, config in configs.items() if at.rstrip("./") == start.rstrip("./")), {})
    return {name: value for name, value in spread(own).items() if name in layout.hints}


def _is_part(found: Match, broken: Mapping[str, Sequence[frozenset[str]]]) -> bool:
    """Whether its arrays are a part of a network that is damaged: then they are not taken for a smaller one that is whole.

    ``broken`` holds the names of the damaged ones by prefix, which is shorter then.
    """
    around = (found.prefix[: hit.end()] for hit in re.finditer("[./_]|^", found.prefix))
    return any(found.claims <= names for start in around if start != found.prefix for names in broken.get(start, ()))


def _largest(matches: Sequence[Match]) -> Iterator[Match]:
    """Of matches that read the same arrays the one that reads most of them, and explains most of their names."""
    by_name: dict[str, list[Match]] = defaultdict(list)
    claims = {id(found): found.claims for found in matches}
    for found in matches:
        for name in claims[id(found)]:
            by_name[name].append(found)
    for found in matches:
        own = claims[id(found)]
        rivals = [each for each in by_name[next(iter(own))] if each is not found]
        beaten = any(
            own < claims[id(rival)]
            or (own == claims[id(rival)] and rival.spec == found.spec and len(rival.prefix) < len(found.prefix))
            for rival in rivals
        )
        if not beaten:
            yield found
