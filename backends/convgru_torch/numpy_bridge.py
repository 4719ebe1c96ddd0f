"""Tensors to NumPy and back, byte for byte, bfloat16 included."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from convgru.weights import DTYPES

TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}


def to_tensor(array: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """A tensor of the same dtype that shares nothing with the array."""
    name = str(array.dtype)
    if name == "bfloat16":  # NumPy has no such dtype of its own: its bytes travel as integers
        tensor = torch.from_numpy(np.array(array, order="C").view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor.to(device)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """An array of the same dtype that shares nothing with the tensor."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(DTYPES["bfloat16"]).copy()
    return tensor.numpy().copy()
