"""Find every network among the arrays of a larger model, by names and shapes alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from convgru.importers.hints import NoFitError, spread
from convgru.importers.layout import Layout, Piece, ending, pattern
from convgru.importers.match import Match, Shape, Where, match_layout, some
from convgru.importers.tables import REFUSALS
from convgru.importers.unclaimed import check_unclaimed

Configs = Mapping[str, Mapping[str, Any]]
"""Constructor arguments that a file holds, by the prefix of the arrays that they are about."""


@dataclass
class Sighting:
    """The names below one prefix that match a layout, by layer and direction."""

    parts: dict[Where, list[Piece]] = field(default_factory=dict)
    words: dict[Where, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """The networks among some arrays, the other arrays, and reasons for rejected candidates."""

    matches: tuple[Match, ...]
    left: tuple[str, ...]
    reasons: tuple[str, ...]
    others: tuple[Match, ...] = ()
    """Networks that only the hints exclude; none of their arrays belongs to ``matches``."""


def search(
    shapes: Mapping[str, Shape],
    layouts: Sequence[Layout],
    hints: Mapping[str, Any],
    configs: Configs,
    prefix: str | None = None,
    *,
    named: bool = False,
) -> Findings:
    """Return every network in one of the layouts below ``prefix``.

    ``named`` says whether the caller named the layout.
    """
    names, hints = sorted(shapes), spread(hints)
    held = {at.rstrip("./"): config for at, config in reversed([*configs.items()])}  # the first of a prefix
    wanted = [name for name in names if begins(name, prefix)]
    fitting: list[Match] = []
    others: list[Match] = []
    reasons: list[tuple[frozenset[str], str]] = [(frozenset(), each) for each in _refusals(wanted)]
    broken: dict[str, list[frozenset[str]]] = defaultdict(list)
    for layout, start, sighting in _sightings(layouts, wanted):
        if layout.inside and not named and prefix is None and not re.fullmatch(layout.inside, start, re.DOTALL):
            continue
        if _is_shorter(layout, sighting):
            continue
        config = _known(held.get(start.rstrip("./"), {}), layout)
        try:
            fitting.append(_fit(layout, start, sighting, shapes, names, {**config, **hints}))
        except NoFitError as error:
            broken[start].append(frozenset(sighting.names))
            why = f"  {layout.name} ({layout.title}), from {some(sorted(set(sighting.names)))}: {error}"
            reasons.append((broken[start][-1], why))
            with suppress(NoFitError):
                only = {**config, **_choosing(layout, hints)}
                others += [_fit(layout, start, sighting, shapes, names, only)] if hints else []
    if named and not reasons and not fitting:
        absent = (f"  {each.name} ({each.title}): no array has a name like {each.example!r}" for each in layouts)
        reasons = [(frozenset(), each) for each in absent]
    matches = tuple(match for match in _largest(fitting) if not _is_part(match, broken))
    claimed = {name for match in matches for name in match.claims}
    left = tuple(name for name in names if name not in claimed)
    more = tuple(match for match in _largest(others) if claimed.isdisjoint(match.claims))
    # Names that belong to a network need no explanation, whatever other layout they resemble.
    unexplained = tuple(reason for seen_in, reason in reasons if not seen_in or not seen_in <= claimed)
    return Findings(matches, left, unexplained, more)


def _fit(
    layout: Layout,
    start: str,
    sighting: Sighting,
    shapes: Mapping[str, Shape],
    names: Sequence[str],
    hints: Mapping[str, Any],
) -> Match:
    """Return the network of a sighting. Raises NoFitError if it does not fit."""
    match = match_layout(layout, start, sighting.parts, shapes, hints, sighting.words)
    check_unclaimed(match, names)
    return match


def _choosing(layout: Layout, hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hints that choose one of several networks, rather than describe it."""
    return {"layer": hints["layer"]} if layout.separate and "layer" in hints else {}


def _is_shorter(layout: Layout, sighting: Sighting) -> bool:
    """Whether a whole update is absent, so that it is another layout (torchvision's small RAFT)."""
    there = {piece.target.rpartition(".")[0] for pieces in sighting.parts.values() for piece in pieces}
    return there != {piece.target.rpartition(".")[0] for piece in layout.pieces}


def _refusals(names: Sequence[str]) -> Iterator[str]:
    """Yield the reason for names that belong to a known network that no spec describes."""
    for refusal in REFUSALS:
        matching = [name for name in names if re.search(refusal.key, name)]
        if matching:
            yield f"  {refusal.title}, from {some(matching)}: {refusal.reason}"


def begins(name: str, prefix: str | None) -> bool:
    """Whether a name is below a prefix, which may lack the separator at its end."""
    if not prefix:
        return True
    return name.startswith(prefix) and (
        prefix[-1] in "./_" or name[len(prefix) : len(prefix) + 1] in ("", ".", "/", "_")
    )


def _sightings(layouts: Sequence[Layout], names: Sequence[str]) -> Iterator[tuple[Layout, str, Sighting]]:
    """Yield each layout and prefix that some name matches."""
    by_ending: dict[str, list[tuple[Layout, Piece]]] = defaultdict(list)
    for layout in layouts:
        for piece in layout.pieces:
            if piece.key:
                by_ending[ending(piece.key)].append((layout, piece))
    endings = tuple(text for text in by_ending if text)
    sightings: dict[tuple[str, str, int], tuple[Layout, Sighting]] = {}
    for name in names:
        candidates = list(by_ending.get("", ())) if re.search(r"_l[0-9]", name[-32:]) else []
        if name.endswith(endings):  # one call for all: most names of a large model end otherwise
            candidates += [pair for text in endings if name.endswith(text) for pair in by_ending[text]]
        for layout, piece in candidates:
            hit = pattern(piece.key, layout.directions, layout.ends).fullmatch(name)
            if hit:
                _note(sightings, layout, piece, name, hit.groupdict())
    for (_, start, _), (layout, sighting) in sightings.items():
        yield layout, start, sighting


def _note(sightings: dict[Any, Any], layout: Layout, piece: Piece, name: str, groups: Mapping[str, str | None]) -> None:
    layer = int(groups.get("layer") or 0)
    where = layer, layout.directions.index(groups.get("dir") or layout.directions[0])
    key = layout.name, groups["prefix"] or "", layer if layout.separate else 0
    _, sighting = sightings.setdefault(key, (layout, Sighting()))
    sighting.parts.setdefault(where, []).append(piece)
    sighting.names.append(name)
    if groups.get("any"):
        sighting.words[where] = groups["any"]


def _known(config: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Return those of the constructor arguments in a file that the layout knows."""
    return {name: value for name, value in spread(config).items() if name in layout.hints}


def _is_part(match: Match, broken: Mapping[str, Sequence[frozenset[str]]]) -> bool:
    """Reject a match: its arrays are a fragment of a bigger, incomplete network.

    ``broken`` maps the prefixes of incomplete networks to their names.
    """
    around = (match.prefix[: hit.end()] for hit in re.finditer("[./_]|^", match.prefix))
    return any(match.claims <= names for start in around if start != match.prefix for names in broken.get(start, ()))


def _largest(matches: Sequence[Match]) -> Iterator[Match]:
    """Of matches that read the same arrays, yield the one that explains most of their names."""
    by_name: dict[str, list[Match]] = defaultdict(list)
    claims = {id(match): match.claims for match in matches}
    for match in matches:
        for name in claims[id(match)]:
            by_name[name].append(match)
    for match in matches:
        mine = claims[id(match)]
        rivals = [each for each in by_name[next(iter(mine))] if each is not match]
        beaten = any(
            mine < claims[id(rival)]
            or (mine == claims[id(rival)] and rival.spec == match.spec and len(rival.prefix) < len(match.prefix))
            for rival in rivals
        )
        if not beaten:
            yield match
