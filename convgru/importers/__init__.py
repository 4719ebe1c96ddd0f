"""Weights from arrays of other implementations: the layout is recognised, or named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from convgru.importers.exports import to_foreign
from convgru.importers.hints import NoFitError
from convgru.importers.interpret import canonical
from convgru.importers.layout import Layout
from convgru.importers.match import Match, match
from convgru.importers.plan import plan
from convgru.importers.table import LAYOUTS
from convgru.weights import Weights, WeightsError, dtype_of

__all__ = ["LAYOUTS", "adopt", "export"]


def adopt(
    state_dict: Mapping[str, Any], layout: str | None = None, *, prefix: str | None = None, **hints: Any
) -> Weights:
    """The weights in a state dict of another implementation, recognised by the names and shapes of its arrays.

    ``state_dict`` maps names to arrays: NumPy's, tensors of any framework, whatever NumPy can read. ``layout`` is one of
    ``convgru.importers.LAYOUTS``, or the part of its name before the dot. ``prefix`` says how the names begin of which the
    network consists, if there is more than one; the others are then left aside. ``hints`` are named as in the
    original's constructor: what arrays cannot tell (``nonlinearity``), or what they should agree with (``hidden_dim``).

    Slices and signs are exact; where two biases become one, or a batch norm is folded, that is done in float64 and rounded
    once. Groups that cut across the gates become dense weights, zeros filling the rest.

    Raises WeightsError, and nothing else, if no layout fits, or more than one does; it says why for each candidate.

    >>> import numpy as np
    >>> arrays = {"weight_ih_l0": np.ones((4, 1, 3)), "weight_hh_l0": np.ones((4, 1, 3))}
    >>> convgru.adopt(arrays).spec.title  # four gates of one channel
    'ConvLSTM'
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(name, str) for name in state_dict):
        raise WeightsError(f"adopt expected a mapping from names to arrays, got {type(state_dict).__name__}")
    start = prefix or ""
    arrays = {name: value for name, value in state_dict.items() if name.startswith(start)}
    if not arrays:
        raise WeightsError(f"adopt expected arrays whose names begin with {start!r}, got {_examples(state_dict)}")
    found = _recognise({name.removeprefix(start): value for name, value in arrays.items()}, _candidates(layout), hints)
    how = plan(found)
    names = dict.fromkeys(name for blocks in how.values() for terms in blocks for term in terms for name in term.names)
    needed = {name: _as_array(name, arrays[start + name]) for name in names}
    dtypes = {str(array.dtype) for array in needed.values()}
    if len(dtypes) > 1:
        raise WeightsError(f"adopt expected one dtype for all arrays, got {', '.join(sorted(dtypes))}")
    dtype_of(dtypes.pop())
    return Weights(found.spec, canonical(how, needed))


def export(weights: Weights, layout: str) -> dict[str, np.ndarray]:
    """The arrays of a state dict of another implementation: the inverse of ``adopt``, byte for byte.

    A bias that is the sum of two there is written as the first; the second is then -0.0. Raises WeightsError if the original
    has no such network, or there is no such layout.

    >>> convgru.importers.export(weights, "pytorch_convgru")  # doctest: +SKIP
    """
    reasons: list[str] = []
    for candidate in _candidates(layout):
        try:
            return to_foreign(weights, candidate)
        except WeightsError as error:
            reasons.append(str(error))
    raise WeightsError("; ".join(reasons))


def _candidates(name: str | None) -> list[Layout]:
    if name is None:
        return [each for each in LAYOUTS.values() if not each.named]
    found = [each for key, each in LAYOUTS.items() if name in (key, key.partition(".")[0])]
    if not found:
        raise WeightsError(f"layout expected one of {', '.join(LAYOUTS)}, got {name!r}")
    return found


def _recognise(arrays: Mapping[str, Any], candidates: list[Layout], hints: Mapping[str, Any]) -> Match:
    shapes = {name: _shape(name, value) for name, value in arrays.items()}
    fitting: list[Match] = []
    reasons: list[str] = []
    for candidate in candidates:
        try:
            fitting.append(match(candidate, shapes, hints))
        except NoFitError as error:
            reasons.append(f"  {candidate.name} ({candidate.title}): {error}")
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise WeightsError("\n".join([f"no known layout fits the arrays {_examples(arrays)}", *reasons]))
    names = ", ".join(f"{each.layout.name} ({each.layout.example})" for each in fitting)
    raise WeightsError(f"several layouts fit, choose one by layout=: {names}")


def _shape(name: str, value: Any) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in (value.shape if hasattr(value, "shape") else np.shape(value)))
    except (TypeError, ValueError):
        raise WeightsError(f"adopt expected {name[:80]!r} to be an array, got {type(value).__name__}") from None


def _as_array(name: str, value: Any) -> np.ndarray:
    """NumPy's view of an array of any framework, without importing the framework."""
    bfloat16 = str(getattr(value, "dtype", "")).lower().rpartition(".")[2] == "bfloat16"
    try:
        if hasattr(value, "detach"):  # torch: off the graph, off the GPU
            value = value.detach().cpu()
        if hasattr(value, "asnumpy"):  # MindSpore
            return np.array(value.float().asnumpy() if bfloat16 else value.asnumpy())
        if hasattr(value, "detach") and bfloat16:  # torch gives NumPy no bfloat16: by float32, which is exact
            return np.asarray(value.float()).astype(ml_dtypes.bfloat16)
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"adopt expected {name[:80]!r} to be an array: {error}") from None


def _examples(names: Mapping[Any, Any]) -> str:
    shown = ", ".join(repr(str(name)[:80]) for name in list(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
