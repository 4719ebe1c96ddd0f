"""Draw the masks of dropout, recurrent dropout and zoneout from torch's generator.

Their names are those of ``mask_shapes``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru.calls import CallSizes
from convgru.spec import NetworkSpec
from convgru.spec.shapes import mask_shapes

Masks = Mapping[str, Tensor]


def draw(
    spec: NetworkSpec, sizes: CallSizes, dtype: torch.dtype, device: torch.device, kept: Masks | None = None
) -> dict[str, Tensor]:
    """Draw the masks of one call in training, except those given in ``kept``.

    Empty without dropout and zoneout.
    """
    if not _draws(spec):
        return {}
    kept = kept or {}
    return {
        name: kept[name] if name in kept else _draw(spec, name, torch.ones(shape, dtype=dtype, device=device))
        for name, shape in mask_shapes(spec, sizes.time, sizes.batch, sizes.size).items()
    }


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _draws(spec: NetworkSpec) -> bool:
    """Whether a network draws masks at all.

    A constant of a compiled program, for which a number would be one more of its arguments.
    """
    return bool(spec.dropout or spec.recurrent_dropout or spec.zoneout)


def recurrent(masks: Masks) -> dict[str, Tensor]:
    """Select the recurrent dropout masks, which are the same in every step of a sequence.

    A sequence may take several calls.
    """
    return {name: mask for name, mask in masks.items() if name.startswith("recurrent.")}


def _draw(spec: NetworkSpec, name: str, ones: Tensor) -> Tensor:
    kind = name.partition(".")[0]
    if kind == "zoneout":
        return torch.bernoulli(torch.full_like(ones, spec.zoneout, dtype=torch.float32)).to(ones.dtype)
    return F.dropout(ones, spec.dropout if kind == "dropout" else spec.recurrent_dropout)
