"""Every network in a file, convgru's own or another system's, and what else there is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convgru import files, importers
from convgru.errors import WeightsError
from convgru.formats.checkpoint import Contents, unwrapped
from convgru.importers import specless
from convgru.spec import Spec
from convgru.weights import Weights

OWN = specless.LAYOUT
"""What the layout of convgru's own networks is called."""


@dataclass(frozen=True)
class Network:
    """One network in a file: how its arrays' names begin, in which layout they are, and what it is."""

    prefix: str
    label: str
    layout: str
    spec: Spec
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """What neither arrays nor file say, and no hint did: constructor arguments, at what the original has where nothing is said."""


@dataclass(frozen=True)
class Survey:
    """The networks in a file; the arrays that are none of theirs; and what looked like a network and is none, with the reason."""

    path: Path
    networks: tuple[Network, ...]
    left: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """What would be networks too, were it not for the hints."""
    weights: Weights | None = None
    """Those of the network, if there is but one."""


def inspect(
    path: str | os.PathLike[str], layout: str | None = None, *, prefix: str | None = None, **hints: Any
) -> Survey:
    """What networks a file holds; arguments, and errors, as for ``convgru.read``, but that several networks are no error.

    >>> convgru.inspect("model.pt").networks  # doctest: +SKIP
    """
    where, found, prefix = Path(path), files.contents(path), prefix and unwrapped(prefix)
    try:
        seen = _survey(where, found, layout, prefix, hints)
        if seen.networks and len(seen.networks) + len(seen.others) > 1:
            return seen
        # One network, or none, of which read says why.
        return replace(seen, weights=files.weights_in(found, layout, prefix, hints))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def _survey(path: Path, found: Contents, layout: str | None, prefix: str | None, hints: Mapping[str, Any]) -> Survey:
    arrays = files.numbers(found)
    own: dict[str, Weights] = {}
    if layout == OWN:
        own = files.without_spec(arrays, hints).networks(prefix)
    elif layout is None and not hints:
        own = found.networks(prefix)
    rest = {name: array for name, array in arrays.items() if not (own and name.startswith(tuple(own)))}
    networks = [Network(at, repr(at), OWN, each.spec) for at, each in own.items()]
    if not rest or layout == OWN:
        return Survey(path, tuple(networks), tuple(rest))
    seen = importers.survey(rest, layout, prefix=prefix, configs=found.configs, **hints)
    networks += [Network(each.prefix, each.label, each.layout.name, each.spec, each.assumed) for each in seen.matches]
    return Survey(path, tuple(networks), seen.left, seen.reasons, tuple(each.label for each in seen.others))


def told(assumed: Mapping[str, Any]) -> str:
    """A sentence on what was assumed."""
    values = ", ".join(f"{name}={value}" for name, value in assumed.items())
    return f"taken as {values}: hints (--hint NAME=VALUE) say otherwise"
