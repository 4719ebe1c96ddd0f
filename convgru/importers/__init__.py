"""Read weights from the arrays of other implementations, and write arrays for them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convgru.errors import WeightsError
from convgru.formats import parametrized
from convgru.importers import known, own, specless
from convgru.importers.arrays import as_array, examples, flattened, shapes_of, with_weights
from convgru.importers.between_layouts import to_canonical, to_foreign
from convgru.importers.match import Match
from convgru.importers.search import Configs, Findings, begins, search
from convgru.importers.tables import LAYOUTS
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.weights import Weights, dtype_of

MAX_REASONS, MAX_LENGTH = 20, 600
"""Most reasons in a message, and most characters of one."""

__all__ = ["EXPORTS", "LAYOUTS", "Findings", "adopt", "export", "survey"]

EXPORTS: Mapping[str, str] = {each.family: each.suffix for each in reversed(LAYOUTS.values()) if each.can_export}
"""The systems whose files can be written, each with the suffix that such files usually have."""


def adopt(
    state_dict: Mapping[str, Any],
    layout: str | None = None,
    *,
    prefix: str | None = None,
    spec: Spec | None = None,
    configs: Configs | None = None,
    **hints: Any,
) -> Weights:
    """Return the weights in a state dict of another implementation, recognised by names and shapes.

    Slices and signs are exact; where two biases become one, or a norm is folded, that is done in
    float64 and rounded once. Groups that cut across the gates become dense weights, zeros filling
    the rest.

    Where neither arrays nor hints say how the network is configured, the default of the original is
    assumed, and a ``UserWarning`` names each assumed value; a hint of the same name silences it.

    Args:
        state_dict: Maps names to arrays: NumPy's, tensors of any framework, whatever NumPy can
            read. The arrays of a dict inside it count as below its name
            (``params/cell/ih/kernel``). It may be that of a larger model: the network is found in
            it, everything else is left alone.
        layout: Whose arrays these are: one of ``convgru.importers.LAYOUTS``, the beginning of
            several up to a dot, or ``"convgru"`` for arrays with convgru's own names. Default:
            recognised.
        prefix: What the names of the network's arrays begin with, if there are several networks.
        spec: The spec of the network, if it is known; the arrays must have its names and shapes,
            convgru's own or those of ``layout``. No hints go with it.
        configs: Hints that a file holds, by the prefix of the arrays that they are about.
        **hints: Arguments of the original's constructor by their original names: what arrays cannot
            tell (``nonlinearity``), or what they should agree with (``hidden_dim``).

    Raises:
        WeightsError: No layout fits, or more than one does, or there are several networks; the
            message says which, and why not.

    >>> import numpy as np
    >>> arrays = {"weight_ih_l0": np.ones((4, 1, 3)), "weight_hh_l0": np.ones((4, 1, 3))}
    >>> convgru.adopt(arrays).spec.title  # four gates of one channel
    'ConvLSTM'
    """
    weights, assumed = adopt_with_assumptions(
        state_dict, layout, prefix=prefix, spec=spec, configs=configs, hints=hints
    )
    if assumed:
        warnings.warn(specless.sentence(assumed), UserWarning, stacklevel=2)
    return weights


def adopt_with_assumptions(
    state_dict: Mapping[str, Any],
    layout: str | None,
    *,
    prefix: str | None = None,
    spec: Spec | None = None,
    configs: Configs | None = None,
    config: own.Config | None = None,
    hints: Mapping[str, Any],
) -> tuple[Weights, Mapping[str, Any]]:
    """Return the weights as ``adopt`` does, and the assumed arguments with their values.

    ``config`` is what a ``config.json`` beside the file says of a network with convgru's own names.
    """
    state_dict = flattened(state_dict)
    if spec is not None and not isinstance(spec, (NetworkSpec, ForecasterSpec)):
        raise TypeError(f"spec expected a NetworkSpec or a ForecasterSpec, got {type(spec).__name__}")
    if spec is not None and hints:
        raise WeightsError(f"spec= leaves nothing open that hints could say, got {', '.join(sorted(hints))}")
    if spec is not None and layout not in (None, specless.LAYOUT):
        return weights_of(known.located(state_dict, layout or "", spec, prefix), state_dict), {}
    match: Match | own.OwnMatch
    arrays, matches = find_own(state_dict, layout, prefix, hints, spec=spec, config=config)
    if matches:
        match = own.only(matches)
    else:
        arrays, findings = find(state_dict, layout, hints, configs, prefix)
        match = only(findings, arrays, prefix)
    return weights_of(match, arrays), match.assumed


def weights_of(match: Match | own.OwnMatch, state_dict: Mapping[str, Any]) -> Weights:
    """Return the weights of a match. Raises WeightsError unless all are arrays of one dtype."""
    needed = {name: as_array(name, state_dict[name]) for name in match.claims}
    dtypes = {str(array.dtype) for array in needed.values()}
    if len(dtypes) > 1:
        raise WeightsError(f"adopt expected one dtype for all arrays, got {', '.join(sorted(dtypes))}")
    dtype_of(dtypes.pop())
    return to_canonical(match, needed) if isinstance(match, Match) else match.weights(needed)


def survey(
    state_dict: Mapping[str, Any],
    layout: str | None = None,
    *,
    prefix: str | None = None,
    configs: Configs | None = None,
    **hints: Any,
) -> Findings:
    """Return every network of another implementation among some arrays, and the other arrays.

    Arguments as for ``adopt``.

    >>> convgru.importers.survey(torch.load("model.pt")).matches  # doctest: +SKIP
    """
    return find(state_dict, layout, hints, configs, prefix)[1]


def find(
    state_dict: Mapping[str, Any],
    layout: str | None,
    hints: Mapping[str, Any],
    configs: Configs | None,
    prefix: str | None,
) -> tuple[Mapping[str, Any], Findings]:
    """Return the arrays, and the networks among them; arguments as for ``adopt``.

    The arrays are as they came or, if that finds no network, with weight norm, spectral norm and
    pruning computed.
    """

    def networks_in(arrays: Mapping[str, Any]) -> Findings:
        return search(
            shapes_of(arrays), known.candidates(layout), hints, configs or {}, prefix, named=layout is not None
        )

    arrays = flattened(state_dict)
    findings = networks_in(arrays)
    if not (findings.matches or findings.others):
        joined = with_weights(arrays)
        if joined is not arrays:
            return joined, networks_in(joined)
    return arrays, findings


def find_own(
    state_dict: Mapping[str, Any],
    layout: str | None,
    prefix: str | None,
    hints: Mapping[str, Any],
    *,
    spec: Spec | None = None,
    config: own.Config | None = None,
) -> tuple[Mapping[str, Any], list[own.OwnMatch]]:
    """Return the arrays, and the networks among them that have convgru's own names.

    Arguments as for ``own.find``.

    Weight norm, spectral norm and pruning are computed. Raises WeightsError for other
    parametrizations of our parameters.
    """
    arrays = flattened(state_dict)
    if layout in (None, specless.LAYOUT) and any(map(specless.is_ours, parametrized.unknown(arrays))):
        if layout is None and spec is None and config is None:
            raise WeightsError(specless.ADVICE)
        arrays = with_weights(arrays)
        left = {name: parts for name, parts in parametrized.unknown(arrays).items() if specless.is_ours(name)}
        if left:
            raise WeightsError(parametrized.advice(left))
    return arrays, own.find(shapes_of(arrays), layout, prefix, hints, spec=spec, config=config)


def export(weights: Weights, layout: str, *, prefix: str | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of another implementation's state dict: the inverse of ``adopt``.

    It is so byte for byte. A bias that is the sum of two there is written as the first; the second
    is then -0.0.

    Args:
        weights: The weights.
        layout: One of ``convgru.importers.LAYOUTS``, one of ``EXPORTS`` (which stands for all
            layouts of a system), or ``"convgru"`` for convgru's own names.
        prefix: The name of the module that the network is in a larger model; all names begin with
            it.

    Raises:
        WeightsError: The other system has no such network, or there is no such layout.

    >>> convgru.importers.export(weights, "raft_sep", prefix="update_block.gru")  # doctest: +SKIP
    """
    if layout == specless.LAYOUT:
        return {_below(prefix, ".") + name: array for name, array in weights.arrays.items()}
    variant = known.placed(weights.spec, layout).layout
    start = _below(prefix, variant.separator)
    return {start + name: array for name, array in to_foreign(weights, variant).items()}


def _below(prefix: str | None, separator: str) -> str:
    """Return a prefix with the separator that comes before the names of arrays."""
    return prefix + separator if prefix and prefix[-1] not in "./_" else prefix or ""


def only(findings: Findings, shapes: Mapping[str, Any], prefix: str | None) -> Match:
    """Return the one network. Raises WeightsError if there are none or several."""
    exact = [each for each in findings.matches if prefix and each.prefix.rstrip("./") == prefix.rstrip("./")]
    matches = exact or list(findings.matches)
    if len(matches) == 1 and (exact or not findings.others):
        return matches[0]
    if matches:
        raise WeightsError(_several([*matches, *(() if exact else findings.others)]))
    names = [] if findings.reasons else ["known are " + ", ".join(sorted({key.partition(".")[0] for key in LAYOUTS}))]
    if prefix and not findings.reasons and not any(begins(name, prefix) for name in shapes):
        raise WeightsError(f"no array lies below the prefix {prefix!r}; there are {examples(shapes)}")
    where = "" if prefix is None else f" that begin with {prefix!r}"
    unknown = parametrized.unknown(shapes)
    names += [parametrized.advice(unknown)] if unknown else []
    lines = [f"no known layout fits the arrays {examples(shapes)}{where}", *_shortened(findings.reasons), *names]
    lines.append("arrays of a network of your own: adopt({convgru's name: array}, spec=...)")
    raise WeightsError("\n".join(lines))


def _several(matches: Sequence[Match]) -> str:
    """The message for several networks: choose one by ``layout``, ``layer`` or ``prefix``."""
    if len({each.label for each in matches}) == 1:
        names = [f"{each.layout.name} ({each.layout.example})" for each in matches]
        return f"several layouts fit, choose one by layout=: {', '.join(names)}"
    by = "layer=" if all(each.layout.separate for each in matches) else "prefix="
    first = sorted(matches, key=lambda m: m.label)[:MAX_REASONS]
    shown = ", ".join(f"{each.label[:MAX_LENGTH]} ({each.layout.name})" for each in first)
    more = f" and {len(matches) - MAX_REASONS} more" if len(matches) > MAX_REASONS else ""
    return f"there are several networks, choose one by {by}: {shown}{more}"


def _shortened(reasons: Sequence[str]) -> list[str]:
    """The first of many reasons, shortened: a file may hold thousands, with names of any length."""
    shown = [reason if len(reason) <= MAX_LENGTH else f"{reason[:MAX_LENGTH]} …" for reason in reasons[:MAX_REASONS]]
    return shown if len(reasons) <= MAX_REASONS else [*shown, f"  and {len(reasons) - MAX_REASONS} more"]
