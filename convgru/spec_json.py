"""A spec as JSON text, and back: strict, so that a file either means what it says or is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from convgru import strict_json
from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec, Spec

MAX_LENGTH = 1 << 20


def to_json(spec: Spec) -> str:
    """The spec as JSON text, the same for equal specs."""
    kind = "forecaster" if isinstance(spec, ForecasterSpec) else "network"
    return json.dumps({"kind": kind, **asdict(spec)}, sort_keys=True)


def from_json(text: str) -> Spec:
    """The spec that ``to_json`` wrote. Raises ValueError for anything else, unknown fields included."""
    data = strict_json.loads(text, "spec", MAX_LENGTH)
    if not isinstance(data, dict) or data.get("kind") not in ("network", "forecaster"):
        raise ValueError(f"spec expected an object with kind 'network' or 'forecaster', got {text[:60]!r}")
    kind = data.pop("kind")
    try:
        if kind == "network":
            return _network_from(data)
        data = {**data, "encoder": _network_from(data["encoder"]), "patch": _frozen(data["patch"])}
        return ForecasterSpec(**_known(ForecasterSpec, data))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"spec ({kind}) is not one that this version of convgru can read: {error}") from None


def _network_from(data: Any) -> NetworkSpec:
    layers = _known(NetworkSpec, data)["layers"]
    return NetworkSpec(tuple(CellSpec(**_known(CellSpec, _frozen_values(layer))) for layer in layers))


def _known(kind: type, data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{kind.__name__} expected an object, got {type(data).__name__}")
    unknown = set(data) - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {sorted(unknown)}")
    return data


def _frozen_values(data: Any) -> Any:
    return {name: _frozen(value) for name, value in data.items()} if isinstance(data, dict) else data


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
