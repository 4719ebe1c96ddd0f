"""Every network in a file, convgru's own or another system's, and what else there is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convgru import files, importers
from convgru.spec import Spec
from convgru.weights import Weights

OWN = "convgru"
"""What the layout of convgru's own networks is called."""


@dataclass(frozen=True)
class Network:
    """One network in a file: how its arrays' names begin, in which layout they are, and what it is."""

    prefix: str
    label: str
    layout: str
    spec: Spec


@dataclass(frozen=True)
class Survey:
    """The networks in a file; the arrays that are none of theirs; and what looked like a network and is none, with the reason."""

    path: Path
    networks: tuple[Network, ...]
    left: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    weights: Weights | None = None
    """Those of the network, if there is but one."""


def inspect(
    path: str | os.PathLike[str], layout: str | None = None, *, prefix: str | None = None, **hints: Any
) -> Survey:
    """What networks a file holds; arguments, and errors, as for ``convgru.read``, but that several networks are no error.

    >>> convgru.inspect("model.pt").networks  # doctest: +SKIP
    """
    where, found = Path(path), files.contents(path)
    told = layout is not None or bool(hints)
    own = {} if told else {at: each for at, each in found.networks().items() if at.startswith(prefix or "")}
    rest = {name: array for name, array in found.arrays.items() if not (own and name.startswith(tuple(own)))}
    networks = [Network(at, repr(at), OWN, each.spec) for at, each in own.items()]
    left: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    if rest:
        seen = importers.survey(rest, layout, prefix=prefix, configs=found.configs, **hints)
        networks += [Network(each.prefix, each.label, each.layout.name, each.spec) for each in seen.matches]
        left, reasons = seen.left, seen.reasons
    if len(networks) > 1:
        return Survey(where, tuple(networks), left, reasons)
    # One network, or none, of which read says why.
    return Survey(where, tuple(networks), left, reasons, files.read(where, layout, prefix=prefix, **hints))
