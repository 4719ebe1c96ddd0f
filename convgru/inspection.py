"""Every network in a file, convgru's own or another system's, and what else there is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

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
    path: str | os.PathLike[str],
    layout: str | None = None,
    *,
    prefix: str | None = None,
    spec: Spec | None = None,
    **hints: Any,
) -> Survey:
    """Return what networks a file holds; arguments and errors as for ``convgru.read``, but several networks are no error.

    >>> convgru.inspect("model.pt").networks  # doctest: +SKIP
    """
    where, held, prefix = Path(path), files.contents(path), prefix and unwrapped(prefix)
    try:
        return _survey(where, held, layout, prefix, spec, hints)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def _survey(
    path: Path, held: Contents, layout: str | None, prefix: str | None, spec: Spec | None, hints: Mapping[str, Any]
) -> Survey:
    arrays = files.numbers(held)
    if spec is not None:
        known, _ = files.weights_in(held, layout, prefix, spec, hints)
        return Survey(path, (Network(prefix or "", repr(prefix or ""), layout or OWN, spec),), weights=known)
    networks, weights, rest = _own_networks(held, arrays, layout, prefix, hints)
    if not rest or layout == OWN:
        return Survey(path, networks, tuple(rest), weights=weights)
    within, found = importers.find(rest, layout, hints, held.configs, prefix)
    networks += tuple(
        Network(each.prefix, each.label, each.layout.name, each.spec, each.assumed) for each in found.matches
    )
    if not networks or (weights is None and len(networks) + len(found.others) == 1):
        match = importers.only(found, within, prefix)  # raises, and says why, if there is none
        weights = importers.weights_of(match, within)
    elif len(networks) + len(found.others) > 1:
        weights = None
    return Survey(path, networks, found.left, found.reasons, tuple(each.label for each in found.others), weights)


def _own_networks(
    held: Contents,
    arrays: Mapping[str, np.ndarray],
    layout: str | None,
    prefix: str | None,
    hints: Mapping[str, Any],
) -> tuple[tuple[Network, ...], Weights | None, dict[str, np.ndarray]]:
    """The networks in convgru's own layout, the weights if there is one, and the arrays that belong to none of them."""
    if (declared := files.declared_in(held, layout, prefix, hints)) is not None:
        found = declared.networks(prefix)
        networks = tuple(Network(at, repr(at), OWN, each.spec) for at, each in found.items())
        rest = {name: array for name, array in arrays.items() if not (found and name.startswith(tuple(found)))}
        return networks, next(iter(found.values())) if len(found) == 1 else None, rest
    computed, matches = importers.find_own(arrays, layout, prefix, hints, config=held.config)
    if not matches:
        return (), None, dict(arrays)
    claims = {name for match in matches for name in match.claims}
    networks = tuple(Network(m.prefix, repr(m.prefix), OWN, m.spec, m.assumed) for m in matches)
    rest = {name: array for name, array in computed.items() if name not in claims}
    return networks, importers.weights_of(matches[0], computed) if len(matches) == 1 else None, rest


def told(assumed: Mapping[str, Any]) -> str:
    """A sentence on what was assumed."""
    values = ", ".join(f"{name}={value}" for name, value in assumed.items())
    return f"taken as {values}: hints (--hint NAME=VALUE) say otherwise"
