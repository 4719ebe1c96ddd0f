"""Refuse exports with a free time axis: the loop over time is unrolled.

A program of torch.export or torch.onnx.export holds one T.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import has_static_value

from convgru.errors import UnsupportedError


def check_time_is_fixed(owner: str, x: Tensor) -> None:
    """Raise UnsupportedError if an export of ``owner`` leaves the time axis of x free.

    x is (T, B, C, *S).

    Without this the loop over time would fix T: ``torch.onnx.export`` then writes a model of one T
    whatever ``Dim`` it was given, and ``Dim.AUTO`` a model that even says that T is free.
    ``torch.compile`` is left alone: it compiles again for another T.
    """
    if torch.compiler.is_exporting() and not has_static_value(x.shape[0]):
        raise UnsupportedError(
            f"{owner} cannot be exported with a free time dimension: its loop over time is unrolled. "
            "Fix T (leave the time axis out of dynamic_shapes and dynamic_axes; batch, height and width may be "
            "free), or export one step, `step` of the network, and loop over the frames outside"
        )
