"""A spec as JSON text, and back: strict, so that a file either means what it says or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from convgru import strict_json
from convgru.spec.cell import CellSpec, Norm
from convgru.spec.fields import name_differences
from convgru.spec.networks import ForecasterSpec, NetworkSpec, Spec

MAX_LENGTH = 1 << 20
KINDS: Mapping[str, type[Spec]] = {"network": NetworkSpec, "forecaster": ForecasterSpec}


def to_json(spec: Spec) -> str:
    """The spec as JSON text, the same for equal specs."""
    kind = "forecaster" if isinstance(spec, ForecasterSpec) else "network"
    return json.dumps({"kind": kind, **asdict(spec)}, sort_keys=True)


def from_json(text: str) -> Spec:
    """Return the spec that ``to_json`` wrote. Raises ValueError for any other text."""
    data = strict_json.loads(text, "spec", MAX_LENGTH)
    if not isinstance(data, dict) or data.get("kind") not in ("network", "forecaster"):
        raise ValueError(f"spec expected an object with kind 'network' or 'forecaster', got {text[:60]!r}")
    kind = data.pop("kind")
    try:
        spec: Spec = _make(KINDS[kind], data)
    except (TypeError, ValueError) as error:
        raise ValueError(f"spec ({kind}) is not one that this version of convgru can read: {error}") from None
    return spec


def _make(kind: Any, data: Any) -> Any:
    """A dataclass from its JSON object, nested ones included, lists as tuples."""
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} expected an object, got {type(data).__name__}")
    known = [field.name for field in fields(kind)]
    optional = {field.name for field in fields(kind) if field.default is not MISSING}
    if differences := name_differences(known, {*data, *optional}):
        raise ValueError(f"{kind.__name__} fields: {differences}")
    return kind(**{name: NESTED.get((kind, name), _frozen)(value) for name, value in data.items()})


def _layers(data: Any) -> Any:
    if not isinstance(data, list):
        raise ValueError(f"NetworkSpec.layers expected a list, got {type(data).__name__}")
    return tuple(_make(CellSpec, layer) for layer in data)


def _optional(kind: type) -> Callable[[Any], Any]:
    return lambda data: None if data is None else _make(kind, data)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


NESTED: Mapping[tuple[type, str], Callable[[Any], Any]] = {
    (NetworkSpec, "layers"): _layers,
    (CellSpec, "norm"): _optional(Norm),
    (ForecasterSpec, "encoder"): _optional(NetworkSpec),
    (ForecasterSpec, "decoder"): _optional(NetworkSpec),
}
