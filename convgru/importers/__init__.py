"""Weights from arrays of other implementations: the layout is recognised, or named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from convgru.errors import WeightsError
from convgru.formats import parametrized
from convgru.importers.convert import place_in, to_canonical, to_foreign
from convgru.importers.layout import Layout
from convgru.importers.match import Match
from convgru.importers.search import Configs, Findings, begins, search
from convgru.importers.tables import LAYOUTS
from convgru.spec import Spec
from convgru.weights import Weights, dtype_of

DEEPEST = 64
MOST, LONGEST = 20, 600
"""How many reasons, of how many characters, a message holds."""

__all__ = ["LAYOUTS", "Findings", "adopt", "export", "restore", "survey"]


def adopt(
    state_dict: Mapping[str, Any],
    layout: str | None = None,
    *,
    prefix: str | None = None,
    configs: Configs | None = None,
    **hints: Any,
) -> Weights:
    """The weights in a state dict of another implementation, recognised by the names and shapes of its arrays.

    ``state_dict`` maps names to arrays: NumPy's, tensors of any framework, whatever NumPy can read; the arrays of a dict inside it count as
    below its name (``params/cell/ih/kernel``). It may be that of a larger
    model: the network is found in it, everything else is left alone. ``prefix`` says how the names begin of which the network
    consists, if there are several. ``layout`` is one of ``convgru.importers.LAYOUTS``, or the beginning of several up to a dot.
    ``hints`` are named as in the original's constructor: what arrays cannot tell (``nonlinearity``), or what they should agree
    with (``hidden_dim``). ``configs`` are hints that a file holds, by the prefix of the arrays that they are about.

    Slices and signs are exact; where two biases become one, or a norm is folded, that is done in float64 and rounded
    once. Groups that cut across the gates become dense weights, zeros filling the rest.

    Raises WeightsError, and nothing else, if no layout fits, or more than one does, or there are several networks; it says which, and
    why not.

    >>> import numpy as np
    >>> arrays = {"weight_ih_l0": np.ones((4, 1, 3)), "weight_hh_l0": np.ones((4, 1, 3))}
    >>> convgru.adopt(arrays).spec.title  # four gates of one channel
    'ConvLSTM'
    """
    state_dict, findings = _find(state_dict, layout, hints, configs, prefix)
    found = _only(findings, state_dict, prefix)
    needed = {name: _as_array(name, state_dict[name]) for name in found.claims}
    dtypes = {str(array.dtype) for array in needed.values()}
    if len(dtypes) > 1:
        raise WeightsError(f"adopt expected one dtype for all arrays, got {', '.join(sorted(dtypes))}")
    dtype_of(dtypes.pop())
    return to_canonical(found, needed)


def survey(
    state_dict: Mapping[str, Any],
    layout: str | None = None,
    *,
    prefix: str | None = None,
    configs: Configs | None = None,
    **hints: Any,
) -> Findings:
    """Every network among some arrays, and the names that belong to none of them; arguments as for ``adopt``.

    >>> convgru.importers.survey(torch.load("model.pt", weights_only=True)).matches  # doctest: +SKIP
    """
    return _find(state_dict, layout, hints, configs, prefix)[1]


def restore(state_dict: Mapping[str, Any], layout: str, spec: Spec) -> Weights:
    """The weights of a network of a known spec in the arrays that ``export`` gives for it. Raises WeightsError."""
    found = _placed(spec, layout)
    claims = sorted(found.claims)
    starts = [name.removesuffix(claims[0]) for name in state_dict if name.endswith(claims[0])]
    start = next((each for each in starts if all(each + name in state_dict for name in claims)), None)
    if start is None:
        raise WeightsError(f"the layout {layout!r} expected {', '.join(claims)}, got {_examples(state_dict)}")
    return to_canonical(found, {name: _as_array(name, state_dict[start + name]) for name in claims})


def export(weights: Weights, layout: str) -> dict[str, np.ndarray]:
    """The arrays of a state dict of another implementation: the inverse of ``adopt``, byte for byte.

    A bias that is the sum of two there is written as the first; the second is then -0.0. Raises WeightsError if the original
    has no such network, or there is no such layout.

    >>> convgru.importers.export(weights, "pytorch_convgru")  # doctest: +SKIP
    """
    return to_foreign(weights, _placed(weights.spec, layout).layout)


def _placed(spec: Any, layout: str) -> Match:
    reasons: list[str] = []
    for candidate in _candidates(layout):
        try:
            return place_in(spec, candidate)
        except WeightsError as error:
            reasons.append(str(error))
    raise WeightsError("; ".join(dict.fromkeys(reasons)))


def _candidates(name: str | None) -> list[Layout]:
    if name is None:
        return [each for each in LAYOUTS.values() if not each.named]
    found = [each for key, each in LAYOUTS.items() if key == name or key.startswith(f"{name}.")]
    if not found:
        raise WeightsError(f"layout expected one of {', '.join(LAYOUTS)}, got {name!r}")
    return found


def _find(
    state_dict: Mapping[str, Any],
    layout: str | None,
    hints: Mapping[str, Any],
    configs: Configs | None,
    prefix: str | None,
) -> tuple[Mapping[str, Any], Findings]:
    """The networks among the arrays, and the arrays: as they came or, if that finds none, ``_with_weights``."""

    def networks_in(arrays: Mapping[str, Any]) -> Findings:
        return search(_shapes(arrays), _candidates(layout), hints, configs or {}, prefix, named=layout is not None)

    arrays = _flattened(state_dict)
    findings = networks_in(arrays)
    if not (findings.matches or findings.others):
        joined = _with_weights(arrays)
        if joined is not arrays:
            return joined, networks_in(joined)
    return arrays, findings


def _only(found: Findings, shapes: Mapping[str, Any], prefix: str | None) -> Match:
    """The one network that was found. Raises WeightsError if there is none, or are several."""
    exact = [each for each in found.matches if prefix and each.prefix.rstrip("./") == prefix.rstrip("./")]
    matches = exact or list(found.matches)
    if len(matches) == 1 and (exact or not found.others):
        return matches[0]
    if matches:
        raise WeightsError(_several([*matches, *(() if exact else found.others)]))
    names = [] if found.reasons else ["known are " + ", ".join(sorted({key.partition(".")[0] for key in LAYOUTS}))]
    if prefix and not found.reasons and not any(begins(name, prefix) for name in shapes):
        raise WeightsError(f"no array lies below the prefix {prefix!r}; there are {_examples(shapes)}")
    where = "" if prefix is None else f" that begin with {prefix!r}"
    unknown = parametrized.unknown(shapes)
    names += [parametrized.advice(unknown)] if unknown else []
    lines = [f"no known layout fits the arrays {_examples(shapes)}{where}", *_shortened(found.reasons), *names]
    raise WeightsError("\n".join(lines))


def _several(matches: Sequence[Match]) -> str:
    """What is to be said of several networks: how one chooses. A hint does not, for it says what a network is and not which."""
    if len({each.label for each in matches}) == 1:
        names = [f"{each.layout.name} ({each.layout.example})" for each in matches]
        return f"several layouts fit, choose one by layout=: {', '.join(names)}"
    by = "layer=" if all(each.layout.separate for each in matches) else "prefix="
    first = sorted(matches, key=lambda m: m.label)[:MOST]
    shown = ", ".join(f"{each.label[:LONGEST]} ({each.layout.name})" for each in first)
    more = f" and {len(matches) - MOST} more" if len(matches) > MOST else ""
    return f"there are several networks, choose one by {by}: {shown}{more}"


def _shortened(reasons: Sequence[str]) -> list[str]:
    """So many that one can read them, for a file may hold thousands, with names of any length."""
    shown = [reason if len(reason) <= LONGEST else f"{reason[:LONGEST]} …" for reason in reasons[:MOST]]
    return shown if len(reasons) <= MOST else [*shown, f"  and {len(reasons) - MOST} more"]


def _flattened(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays by name, those of dicts inside the dict by their path. Raises WeightsError for what is no such mapping."""
    if not isinstance(state_dict, Mapping):
        raise WeightsError(f"adopt expected a mapping from names to arrays, got {type(state_dict).__name__}")
    found: dict[str, Any] = {}
    inside: list[tuple[str, Mapping[Any, Any]]] = [("", state_dict)]
    while inside:
        start, level = inside.pop()
        if start.count("/") > DEEPEST:
            raise WeightsError(f"adopt expected dicts at most {DEEPEST} deep, got more below {start[:80]!r}")
        for name, value in level.items():
            if not isinstance(name, str):
                raise WeightsError(
                    f"adopt expected a mapping from names to arrays, got a name that is a {type(name).__name__}"
                )
            if isinstance(value, Mapping):
                inside.append((f"{start}{name}/", value))
            elif start + name in found:
                raise WeightsError(f"adopt expected one array of each name, got two of {(start + name)[:80]!r}")
            else:
                found[start + name] = value
    return found


def _with_weights(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The arrays with weight norm, spectral norm and pruning computed (``parametrized.with_weights``)."""
    names = [name for parts in parametrized.unknown(state_dict).values() for name in parts]
    if not names:
        return state_dict
    parts = {name: _as_array(name, state_dict[name]) for name in names}
    others = {name: value for name, value in state_dict.items() if name not in parts}
    return {**others, **parametrized.with_weights(parts)}


def _shapes(state_dict: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each array. Raises WeightsError where there are none."""
    if not state_dict:
        raise WeightsError("adopt expected arrays, got none")
    return {name: _shape(name, value) for name, value in state_dict.items()}


def _shape(name: str, value: Any) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in (value.shape if hasattr(value, "shape") else np.shape(value)))
    except (TypeError, ValueError):
        raise WeightsError(f"adopt expected {name[:80]!r} to be an array, got {type(value).__name__}") from None


def _as_array(name: str, value: Any) -> np.ndarray:
    """NumPy's view of an array of any framework, without importing the framework."""
    bfloat16 = str(getattr(value, "dtype", "")).lower().rpartition(".")[2] == "bfloat16"
    try:
        if hasattr(value, "full_tensor"):  # torch's DTensor: gathered from all processes
            value = value.full_tensor()
        if hasattr(value, "detach"):  # torch: off the graph, off the GPU
            value = value.detach().cpu()
        if hasattr(value, "asnumpy"):  # MindSpore
            return np.array(value.float().asnumpy() if bfloat16 else value.asnumpy())
        if hasattr(value, "detach") and bfloat16:  # torch gives NumPy no bfloat16: by float32, which is exact
            return np.asarray(value.float()).astype(ml_dtypes.bfloat16)
        array = np.asarray(value)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"adopt expected {name[:80]!r} to be an array: {error}") from None


def _examples(names: Mapping[Any, Any]) -> str:
    shown = ", ".join(repr(str(name)[:80]) for name in list(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
