"""List the networks in a file, convgru's own or another system's, and what else it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convgru import files, importers
from convgru.errors import WeightsError
from convgru.formats.contents import Contents
from convgru.formats.names import is_below, outermost
from convgru.importers import specless
from convgru.spec import Spec
from convgru.weights import Weights

OWN = specless.LAYOUT
"""The name of convgru's own layout."""


@dataclass(frozen=True)
class Network:
    """One network in a file: the prefix of its arrays' names, their layout, and the spec."""

    prefix: str
    label: str
    layout: str
    spec: Spec
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments that nothing gives, each with the original's default, assumed here."""
    stored_at: str = ""
    """The prefix in the file itself, if ``prefix`` has the user's names of Keras layers."""


@dataclass(frozen=True)
class Survey:
    """The networks in a file, the arrays that belong to none, and rejected candidates.

    A candidate has names that look like a network's, and comes with the reason why it is not one.
    """

    path: Path
    networks: tuple[Network, ...]
    left: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Labels of networks that the hints exclude."""
    weights: Weights | None = None
    """Weights that ``convgru.read`` returns; None if it raises over several networks."""
    chosen: Network | None = None
    """The network whose weights these are."""
    ambiguity: str = ""
    """The error that ``convgru.read`` raises where there are several networks."""
    verified: bool = False
    """Whether the file holds checksums of its arrays, with which they agree; False: it has none."""


def inspect(
    path: str | os.PathLike[str],
    layout: str | None = None,
    *,
    prefix: str | None = None,
    spec: Spec | None = None,
    **hints: Any,
) -> Survey:
    """List the networks in a file.

    Arguments and errors are those of ``convgru.read``, except that several networks are no error.

    The file is opened once, and the layout of its arrays recognised once.

    >>> convgru.inspect("model.pt").networks  # doctest: +SKIP
    """
    where, held = Path(path), files.contents(path)
    try:
        survey = _survey(where, held, layout, held.resolved(prefix), spec, hints)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    return replace(survey, verified=held.verified)


def _survey(
    path: Path, held: Contents, layout: str | None, prefix: str | None, spec: Spec | None, hints: Mapping[str, Any]
) -> Survey:
    arrays = files.numbers(held)
    if spec is not None:
        known, _ = files.weights_in(held, layout, prefix, spec, hints)
        network = Network(prefix or "", repr(prefix or ""), layout or OWN, spec)
        return Survey(path, (network,), weights=known, chosen=network)
    own, weights, rest = _own_networks(held, arrays, layout, prefix, hints)
    if not rest or layout == OWN:
        survey = Survey(path, own, tuple(rest))
        return replace(survey, ambiguity=_several(own)) if weights is None else _chosen(survey, weights, own[0])
    within, findings = importers.find(rest, layout, hints, held.configs, prefix)
    foreign = tuple(
        Network(m.prefix, m.label, m.layout.name, m.spec, m.assumed, held.stored_at(m.prefix)) for m in findings.matches
    )
    others = tuple(each.label for each in findings.others)
    survey = Survey(path, (*own, *foreign), findings.left, findings.reasons, others)
    if own:  # which convgru.read prefers to another system's
        return replace(survey, ambiguity=_several(own)) if weights is None else _chosen(survey, weights, own[0])
    try:
        match = importers.only(findings, within, prefix)
    except WeightsError as error:
        if not foreign:
            raise
        return replace(survey, ambiguity=str(error))
    return _chosen(survey, importers.weights_of(match, within), foreign[findings.matches.index(match)])


def _chosen(survey: Survey, weights: Weights, network: Network) -> Survey:
    return replace(survey, weights=weights, chosen=network)


def _several(own: tuple[Network, ...]) -> str:
    return f"several networks, expected one: choose by prefix= of {', '.join(each.label for each in own)}"


def _own_networks(
    held: Contents,
    arrays: Mapping[str, np.ndarray],
    layout: str | None,
    prefix: str | None,
    hints: Mapping[str, Any],
) -> tuple[tuple[Network, ...], Weights | None, dict[str, np.ndarray]]:
    """The networks in convgru's own layout, the weights if there is one, and other arrays."""
    if (declared := files.declared_in(held, layout, prefix, hints)) is not None:
        declared_weights = declared.networks(prefix)
        if not declared_weights:
            declared.network(prefix)  # raises, and says which there are
        networks = tuple(Network(at, repr(at), OWN, each.spec) for at, each in declared_weights.items())
        starts = outermost(declared_weights)
        rest = {name: array for name, array in arrays.items() if not is_below(name, starts)}
        return networks, next(iter(declared_weights.values())) if len(declared_weights) == 1 else None, rest
    computed, matches = importers.find_own(arrays, layout, prefix, hints, config=held.config)
    if not matches:
        return (), None, dict(arrays)
    claims = {name for match in matches for name in match.claims}
    networks = tuple(Network(m.prefix, repr(m.prefix), OWN, m.spec, m.assumed) for m in matches)
    rest = {name: array for name, array in computed.items() if name not in claims}
    return networks, importers.weights_of(matches[0], computed) if len(matches) == 1 else None, rest


def assumption(assumed: Mapping[str, Any]) -> str:
    """Return the sentence that says which constructor arguments were assumed."""
    values = ", ".join(f"{name}={value}" for name, value in assumed.items())
    return f"assumed {values}: hints (--hint NAME=VALUE) say otherwise"
