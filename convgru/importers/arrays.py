"""State dicts of any framework as NumPy arrays by flat name, without importing the framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from convgru.errors import WeightsError
from convgru.formats import parametrized

MAX_DEPTH = 64
"""Deepest nesting of dicts that is read."""
MAX_NAME = 1000
"""Longest name: patterns of layouts take a time that grows faster than a name's length."""


def flattened(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays by name, nested ones by path. Raises WeightsError for anything else."""
    if not isinstance(state_dict, Mapping):
        raise WeightsError(f"adopt expected a mapping from names to arrays, got {type(state_dict).__name__}")
    arrays: dict[str, Any] = {}
    pending: list[tuple[str, Mapping[Any, Any]]] = [("", state_dict)]
    while pending:
        start, level = pending.pop()
        if start.count("/") > MAX_DEPTH:
            raise WeightsError(f"adopt expected dicts at most {MAX_DEPTH} deep, got more below {start[:80]!r}")
        for name, value in level.items():
            if not isinstance(name, str):
                raise WeightsError(
                    f"adopt expected a mapping from names to arrays, got a name that is a {type(name).__name__}"
                )
            if isinstance(value, Mapping):
                pending.append((f"{start}{name}/", value))
            elif len(start) + len(name) > MAX_NAME:
                raise WeightsError(
                    f"adopt expected names of at most {MAX_NAME} characters, got {len(start) + len(name)}: "
                    f"{(start + name)[:80]!r} …"
                )
            elif start + name in arrays:
                raise WeightsError(f"adopt expected one array of each name, got two of {(start + name)[:80]!r}")
            else:
                arrays[start + name] = value
    return arrays


def with_weights(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Compute weight norm, spectral norm and pruning, as ``parametrized.with_weights`` does."""
    names = [name for parts in parametrized.unknown(state_dict).values() for name in parts]
    if not names:
        return state_dict
    parts = {name: as_array(name, state_dict[name]) for name in names}
    others = {name: value for name, value in state_dict.items() if name not in parts}
    return {**others, **parametrized.with_weights(parts)}


def shapes_of(state_dict: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array. Raises WeightsError where there are none."""
    if not state_dict:
        raise WeightsError("adopt expected arrays, got none")
    return {name: _shape(name, value) for name, value in state_dict.items()}


def _shape(name: str, value: Any) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in (value.shape if hasattr(value, "shape") else np.shape(value)))
    except (TypeError, ValueError):
        raise WeightsError(f"adopt expected {name[:80]!r} to be an array, got {type(value).__name__}") from None


def as_array(name: str, value: Any) -> np.ndarray:
    """Return an array of any framework as NumPy's. Raises WeightsError if it is none."""
    bfloat16 = str(getattr(value, "dtype", "")).lower().rpartition(".")[2] == "bfloat16"
    try:
        if hasattr(value, "full_tensor"):  # torch's DTensor: gathered from all processes
            value = value.full_tensor()
        if hasattr(value, "detach"):  # torch: off the graph, off the GPU
            value = value.detach().cpu()
        if bfloat16 and hasattr(value, "float"):  # torch and MindSpore give NumPy none: by float32, which is exact
            value = value.float()
            return np.array(value.asnumpy() if hasattr(value, "asnumpy") else value).astype(ml_dtypes.bfloat16)
        if hasattr(value, "asnumpy"):  # MindSpore
            return np.array(value.asnumpy())
        array = np.asarray(value)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"adopt expected {name[:80]!r} to be an array: {error}") from None


def examples(names: Mapping[Any, Any]) -> str:
    """Return the first three names, as a message lists them."""
    shown = ", ".join(repr(str(name)[:80]) for name in list(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
