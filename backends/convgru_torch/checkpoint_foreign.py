"""Read tensors from any .pt file: nested by trainers, sharded by FSDP; refuse unsafe pickles."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from convgru.errors import WeightsError
from convgru_torch import pickle_guard
from convgru_torch.numpy_bridge import as_numpy, local_of

MAX_DEPTH = 16
"""How deeply state dicts may be nested in what was saved."""
OPTIMIZER = ("optim", "sched")
"""Prefixes of the keys under which trainers keep optimiser and scheduler states."""


def load(path: Path, file: BinaryIO | None = None) -> Mapping[str, Any]:
    """Load the mapping in a .pt file, onto the CPU. Raises WeightsError for anything else."""
    with open(path, "rb") if file is None else nullcontext(file) as opened:
        try:
            names = pickle_guard.check(opened, path.stat().st_size)
            if any(name.startswith("torch.distributed.tensor.") for name in names):
                importlib.import_module("torch.distributed.tensor")  # torch.load(weights_only=True) asks for that
            state = torch.load(opened, map_location="cpu", weights_only=True)
        except Exception as error:  # bytes chosen by others: torch raises a dozen kinds
            reason = _reason(error)
            raise WeightsError(
                f"{path}: not a PyTorch file of weights ({type(error).__name__}: {reason}). If you trust whoever wrote it, "
                "load it yourself and hand the state dict to convgru.adopt"
            ) from None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise WeightsError(f"{path}: expected a state dict, got {type(state).__name__}")
    return state


def _reason(error: Exception) -> str:
    """Strip torch.load's message of its colours and of its advice to load the file unsafely."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    match = re.search(r"WeightsUnpickler error: (.*?)(?: Check the documentation|$)", text)
    return (match[1] if match else text)[:200]


def state_dicts(state: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Find every mapping of tensors inside ``state``, by dotted path; a repeated one comes once."""
    return _state_dicts(state, "", {}, 0)


def _state_dicts(
    state: Mapping[str, Any], key: str, seen: dict[int, Any], depth: int
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if id(state) in seen:
        return
    seen[id(state)] = state
    if any(isinstance(value, Tensor) and value.ndim for value in state.values()):  # not for a counter alone
        yield key, state
    for name, value in state.items():
        inner = isinstance(value, Mapping) and "param_groups" not in value and not name.lower().startswith(OPTIMIZER)
        if inner and depth < MAX_DEPTH and all(isinstance(each, str) for each in value):
            yield from _state_dicts(value, f"{key}.{name}" if key else name, seen, depth + 1)


def array_of(name: str, tensor: Tensor) -> np.ndarray | None:
    """View a tensor of a file as an array, so that no small file asks for much memory.

    Returns None for a dtype that NumPy does not have. Raises WeightsError for a tensor without its
    numbers.
    """
    shape = tuple(tensor.shape)
    if hasattr(tensor, "full_tensor"):
        tensor = _whole(name, tensor)
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_nested:
        raise WeightsError(f"{name[:80]} expected a dense tensor, got one that is sparse, nested or without numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(f"{name[:80]} of shape {shape} has fewer numbers in the file than that")
    try:
        return as_numpy(tensor)
    except (TypeError, RuntimeError):  # float8, quantised
        return None


def _whole(name: str, tensor: Tensor) -> Tensor:
    """Return the numbers of a DTensor (FSDP2) saved by one process; WeightsError for a shard."""
    try:
        local = local_of(tensor)
    except Exception as error:  # made from bytes chosen by others
        raise WeightsError(f"{name[:80]} expected a DTensor, got {type(error).__name__}: {str(error)[:80]}") from None
    if local.shape != tensor.shape:
        raise WeightsError(
            f"{name[:80]} of shape {tuple(tensor.shape)} is one process's shard, {tuple(local.shape)}: save the state "
            "dict of torch.distributed.checkpoint.state_dict.get_model_state_dict with full_state_dict=True"
        )
    return local
