"""Reading and writing .pt files: state dicts whose metadata carry the spec, and anybody's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convgru.errors import WeightsError
from convgru.formats.atomic import replacing
from convgru.formats.checkpoint import Contents
from convgru.spec import Spec, from_json
from convgru.weights import DTYPES, Weights
from convgru_torch import pickle_guard
from convgru_torch.backend import build
from convgru_torch.numpy_bridge import to_tensor
from convgru_torch.parameters import FORMAT, METADATA

MAX_DEPTH = 16
"""How deep state dicts may stand inside what was saved."""
OPTIMIZER = ("optim", "sched")
"""What the keys begin with under which trainers keep state that is no network's."""


def contents(path: Path) -> Contents:
    """Every tensor in a .pt file by flat name, and the specs in the metadata of its state dicts.

    A state dict may stand inside what a trainer saved: under ``state_dict``, ``model``, or anything else; its key becomes a prefix
    only where there are several. What is no tensor is left aside, and so is the state of optimisers.
    Loaded with ``weights_only=True`` and in no other way. Raises WeightsError whatever the bytes are, OSError where there is no file.
    """
    state = load(Path(path))
    try:
        found = dict(_state_dicts(state, "", {}))
        if not found:
            raise WeightsError(f"expected tensors by name, got none in {type(state).__name__} of {len(state)}")
        arrays: dict[str, np.ndarray] = {}
        specs: dict[str, Spec] = {}
        for key, inner in found.items():
            prefix = f"{key}." if key and len(found) > 1 else ""
            tensors = {prefix + name: value for name, value in inner.items() if isinstance(value, Tensor)}
            held = {name: _array(name, tensor) for name, tensor in tensors.items()}
            arrays |= {name: array for name, array in held.items() if array is not None}
            specs |= {prefix + name: spec for name, spec in _specs(getattr(inner, "_metadata", None))}
        return Contents(arrays, specs).unwrapped()
    except (WeightsError, RecursionError) as error:
        raise WeightsError(f"{path}: {error}") from None


def load(path: Path) -> Mapping[str, Any]:
    """Whatever mapping of names a .pt file holds, on the CPU. Raises WeightsError for anything else."""
    with open(path, "rb") as file:
        try:
            pickle_guard.check(file, path.stat().st_size)
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # bytes chosen by others: torch raises a dozen kinds
            reason = _reason(error)
            raise WeightsError(
                f"{path}: not a PyTorch file of weights ({type(error).__name__}: {reason}). If you trust whoever wrote it, load it "
                "yourself and hand the state dict to convgru.adopt"
            ) from None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise WeightsError(f"{path}: expected a state dict, got {type(state).__name__}")
    return state


def _reason(error: Exception) -> str:
    """What torch says, without its colours; and without its advice to load the file in the unsafe way."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    found = re.search(r"WeightsUnpickler error: (.*?)(?: Check the documentation|$)", text)
    return (found[1] if found else text)[:200]


def _state_dicts(
    state: Mapping[str, Any], key: str, seen: dict[int, Any], depth: int = 0
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping inside ``state`` that holds tensors, by where it stands; one that stands there twice comes once."""
    if id(state) in seen:
        return
    seen[id(state)] = state
    if any(isinstance(value, Tensor) and value.ndim for value in state.values()):  # not for a counter alone
        yield key, state
    for name, value in state.items():
        inner = isinstance(value, Mapping) and "param_groups" not in value and not name.lower().startswith(OPTIMIZER)
        if inner and depth < MAX_DEPTH and all(isinstance(each, str) for each in value):
            yield from _state_dicts(value, f"{key}.{name}" if key else name, seen, depth + 1)


def _specs(metadata: Any) -> Iterator[tuple[str, Spec]]:
    """The specs that stand in a state dict's metadata, and the prefixes of their parameters' names."""
    for name, entry in metadata.items() if isinstance(metadata, Mapping) else ():
        if not isinstance(name, str) or not isinstance(entry, Mapping) or METADATA not in entry:
            continue
        note = entry[METADATA]
        if not isinstance(note, Mapping) or note.get("format") != FORMAT or not isinstance(note.get("spec"), str):
            told = note.get("format") if isinstance(note, Mapping) else type(note).__name__
            raise WeightsError(f"{name or 'metadata'}: expected a spec of format {FORMAT}, got {str(told)[:20]}")
        try:
            yield f"{name}." if name else "", from_json(note["spec"])
        except (ValueError, TypeError) as error:
            raise WeightsError(str(error)) from None


def _array(name: str, tensor: Tensor) -> np.ndarray | None:
    """A view of the tensor's numbers, so that no small file asks for much memory; None for a kind of number that NumPy has not."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_nested:
        raise WeightsError(f"{name[:80]} expected a dense tensor, got one that is sparse, nested or without numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(f"{name[:80]} of shape {tuple(tensor.shape)} has fewer numbers in the file than that")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.contiguous().view(torch.int16).numpy().view(DTYPES["bfloat16"]))
    try:
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError):  # float8, quantised
        return None


def write(weights: Weights, path: Path) -> None:
    """Write a .pt file that torch.load(weights_only=True) reads: the state dict of the module that ``build`` makes."""
    _save(build(weights).state_dict(), path)


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a state dict of any names, as another system's ``load_state_dict`` takes it."""
    _save({name: to_tensor(array, "cpu") for name, array in arrays.items()}, path)


def _save(state: Mapping[str, Any], path: Path) -> None:
    """Save a state dict, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)
