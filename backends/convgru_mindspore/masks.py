"""Draw the masks of dropout, recurrent dropout and zoneout for training, once a call."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru.spec import NetworkSpec
from convgru.spec.shapes import mask_shapes
from convgru_mindspore.ops import constant

Tensor = Any


def draw(spec: Any, time: int, batch: int, size: Any, dtype: Any, recurrent: Any = None) -> Any:
    """Draw the masks of ``convgru.spec.shapes.mask_shapes`` by name; None if there are none.

    Dropout's hold 0 or 1/(1−p), zoneout's 1 with probability p. ``recurrent``, if given, holds the
    recurrent masks to use again.
    """
    if not draws(spec):
        return None
    wanted, masks = drawn(spec, time, batch, size), {}
    for name, kind, shape, p in wanted:
        if kind == "recurrent" and recurrent is not None:
            masks[name] = recurrent[name]
        elif kind == "zoneout":
            masks[name] = (mops.rand(*shape) < p).astype(dtype)
        else:
            masks[name] = (mops.rand(*shape) >= p).astype(dtype) * constant(1 / (1 - p), dtype)
    return masks


def frame_of(spec: Any, masks: Any, t: int, size: Any) -> Any:
    """The masks of one frame, with a time axis of one."""
    if masks is None:
        return None
    frame = {}
    for name, kind, _, _ in drawn(spec, 1, 1, size):
        frame[name] = masks[name] if kind == "recurrent" else masks[name][t : t + 1]
    return frame


@constexpr
def draws(spec: NetworkSpec) -> bool:
    """Whether there are masks, of whatever shape: asked first, as shapes may be free."""
    return spec.recurrent_dropout > 0 or spec.zoneout > 0 or (spec.dropout > 0 and len(spec.layers) > 1)


@constexpr
def drawn(spec: NetworkSpec, time: int, batch: int, size: Any) -> Any:
    """Name, kind, shape and probability of each mask."""
    chance = {"dropout": spec.dropout, "recurrent": spec.recurrent_dropout, "zoneout": spec.zoneout}
    shapes = mask_shapes(spec, time, batch, size)
    return tuple((name, name.split(".")[0], shape, float(chance[name.split(".")[0]])) for name, shape in shapes.items())
