"""Tensors to NumPy and back, byte for byte, bfloat16 included."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from convgru.weights import DTYPES

TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}


def to_tensor(array: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """Copy an array into a tensor of the same dtype."""
    name = str(array.dtype)
    if name == "bfloat16":  # torch does not take ml_dtypes' bfloat16: the bytes travel as integers
        tensor = torch.from_numpy(np.array(array, order="C").view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(device)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Copy a tensor into an array of the same dtype; gather a DTensor from all processes first.

    Raises TypeError for a tensor on the meta device.
    """
    if tensor.is_meta:
        raise TypeError("expected a tensor with data, got one on the meta device")
    full_tensor = getattr(tensor, "full_tensor", None)
    return as_numpy(tensor if full_tensor is None else full_tensor()).copy()


def as_numpy(tensor: Tensor) -> np.ndarray:
    """View a tensor as an array, sharing memory if possible; torch raises for other dtypes."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(DTYPES["bfloat16"])
    return tensor.numpy()


def local_of(tensor: Any) -> Tensor:
    """The part of a DTensor that this process holds; needs no process group."""
    local: Tensor = tensor.detach().to_local()
    return local
