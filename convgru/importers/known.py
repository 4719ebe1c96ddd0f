"""Find a network whose spec is known among arrays in another system's layout, and lay it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from convgru.errors import WeightsError
from convgru.importers.arrays import examples, shapes_of
from convgru.importers.between_layouts import place_in
from convgru.importers.hints import NoFitError
from convgru.importers.layout import Layout
from convgru.importers.match import Match, check_shapes, some
from convgru.importers.tables import LAYOUTS
from convgru.importers.unclaimed import check_unclaimed
from convgru.spec import Spec


def candidates(name: str | None) -> list[Layout]:
    """Return the layouts of a name, or of a system; for None those that need not be named."""
    if name is None:
        return [each for each in LAYOUTS.values() if not each.named]
    layouts = [each for key, each in LAYOUTS.items() if key == name or key.startswith(f"{name}.")]
    if not layouts:
        raise WeightsError(f"layout expected one of {', '.join(LAYOUTS)}, got {name!r}")
    return layouts


def placed(spec: Spec, layout: str) -> Match:
    """Return the network in the system's first layout that can hold it.

    Raises WeightsError if none can.
    """
    reasons: list[str] = []
    layouts = candidates(layout)
    for candidate in [each for each in layouts if each.cell == spec.recurrent.cell] or layouts:
        try:
            return place_in(spec, candidate)
        except WeightsError as error:
            reasons.append(str(error))
    raise WeightsError("; ".join(dict.fromkeys(reasons)))


def located(state_dict: Mapping[str, Any], layout: str, spec: Spec, prefix: str | None) -> Match:
    """Return the one network of this spec among the arrays, below ``prefix`` if it is given.

    Raises WeightsError unless the names and shapes are those that ``export`` gives it, and its
    modules hold no other arrays.
    """
    match = placed(spec, layout)
    claims, names = sorted(match.claims), sorted(state_dict)
    starts = [name.removesuffix(claims[0]) for name in names if name.endswith(claims[0])]
    starts = [at for at in starts if not at or at[-1] in match.layout.ends]
    starts = [at for at in starts if not prefix or at.rstrip("./_") == prefix.rstrip("./_")]
    starts = [at for at in starts if all(at + name in state_dict for name in claims)]
    if not starts:
        raise WeightsError(f"the layout {layout!r} expected {', '.join(claims)}, got {examples(state_dict)}")
    fitting: list[Match] = []
    reasons: list[str] = []
    for each in (replace(match, prefix=start) for start in starts):
        try:
            check_shapes(each, shapes_of({name: state_dict[name] for name in each.claims}))
            check_unclaimed(each, names)
            _check_whole(each, state_dict)
            fitting.append(each)
        except NoFitError as error:
            reasons.append(str(error))
    if not fitting:
        raise WeightsError(f"the layout {layout!r} does not fit: {reasons[0]}")
    if len(fitting) > 1:
        shown = ", ".join(each.label for each in fitting)
        raise WeightsError(f"several networks, expected one: choose by prefix= of {shown}")
    return fitting[0]


def _check_whole(match: Match, state_dict: Mapping[str, Any]) -> None:
    """Raise NoFitError if there are more layers than the spec has, or a direction more."""
    layers = range(len(match.spec.layers) + (0 if match.layout.separate else 1))
    fillers = [match.filler(layer, way) for layer in layers for way in range(len(match.layout.directions))]
    there = {fill(piece.key) for fill in fillers for piece in match.layout.pieces} & state_dict.keys()
    if more := sorted(there - match.claims):
        raise NoFitError(f"it has no place for {some(more)}")
