"""The same ops with MindSpore's own sigmoid and tanh: faster, off by 8e-7 and 1e-4 in float32."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops

from convgru_mindspore.ops import add_channel, conv, split, split_rz_n, unpatch

__all__ = ["activation", "add_channel", "conv", "sigmoid", "split", "split_rz_n", "tanh", "unpatch"]

Tensor = Any


def sigmoid(a: Tensor) -> Tensor:
    """1 / (1 + exp(−a)), MindSpore's kernel."""
    return mops.sigmoid(a)


def tanh(a: Tensor) -> Tensor:
    """The hyperbolic tangent, MindSpore's kernel."""
    return mops.tanh(a)


def activation(name: str, a: Tensor) -> Tensor:
    """The activation called ``name``."""
    if name == "tanh":
        return tanh(a)
    return mops.relu(a)
