"""The same ops with MindSpore's own sigmoid and tanh: faster, off by 8e-7 and 1e-4 in float32."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops

from convgru_mindspore.ops import add_channel, concat, conv, norm, peep, piecewise, split, split_rz_n, unpatch

__all__ = ["activation", "add_channel", "concat", "conv", "norm", "peep", "split", "split_rz_n", "unpatch"]

Tensor = Any


def activation(name: str, a: Tensor) -> Tensor:
    """The activation called ``name``."""
    if name == "tanh":
        return mops.tanh(a)
    if name == "sigmoid":
        return mops.sigmoid(a)
    return piecewise(name, a)
