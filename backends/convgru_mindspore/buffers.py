"""Frames that a loop of a graph reads and writes, and what else such a loop may hold.

What a loop changes stands in variables of its own: a tuple of tensors would be copied in each turn.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import operations

from convgru_mindspore import ops

Tensor = Any


def seed_of(tensors: Any) -> Tensor:
    """A number that depends on each of these tensors."""
    seed = ms.Tensor(0.0, ms.float32)
    for each in tensors:
        first = operations.Gather()(each.reshape((-1,)), ms.Tensor(0, ms.int32), 0)
        seed = operations.Add()(seed, operations.Cast()(first, ms.float32))
    return seed


def buffer(time: Any, frame: Tensor, seed: Tensor, salt: int) -> Tensor:
    """Memory for ``time`` frames of this shape, to be written in place.

    What it holds does not matter, but must differ from that of every other buffer: MindSpore makes
    equal values one, and frames of two layers would be written to the same place.
    """
    value = operations.Add()(seed, ops.constant(float(salt), ms.float32))
    return operations.FillV2()((time, *mops.shape(frame)), operations.Cast()(value, frame.dtype))


def live(values: Any, seed: Tensor, count: int) -> Any:
    """The same values, but no constants, not even zeros.

    What a loop changes must not begin as a constant: MindSpore then may never change it.
    """
    moving: Any = ()
    nothing = operations.Less()(seed, seed)
    for k in range(count):
        zero = mops.where(nothing, ops.constant(1.0, values[k].dtype), ops.constant(0.0, values[k].dtype))
        moving = (*moving, operations.Add()(values[k], zero))
    return moving


def frames_at(frames: Any, t: Tensor) -> Any:
    """Frame t of each tensor."""
    now: Any = ()
    for each in frames:
        now = (*now, mops.gather(each, t, 0))
    return now


def written(buffer: Tensor, t: Tensor, frame: Tensor) -> Tensor:
    """The buffer with frame t written in place."""
    return operations.ScatterNdUpdate()(buffer, t.reshape((1, 1)), mops.expand_dims(frame, 0))


def pair(first: Tensor, second: Tensor, count: int) -> Any:
    """Both in a tuple, or the first; no condition, on which MindSpore fails after a loop."""
    return part((first, second), 0, count)


def flat(values: Any, start: int, count: int) -> Tensor:
    """Some of the values as one vector, in float32 at least."""
    pieces: Any = ()
    for k in range(count):
        each = values[start + k]
        pieces = (*pieces, each.reshape((-1,)).astype(ops.wide(each.dtype)))
    return mops.concat(pieces, 0)


def shaped(vector: Tensor, like: Any) -> Any:
    """The values of which ``flat`` made the vector, in the shapes and dtypes of ``like``."""
    values: Any = ()
    at = 0
    for each in like:
        values = (*values, vector[at : at + each.size].reshape(each.shape).astype(each.dtype))
        at = at + each.size
    return values


def before(kept: Tensor, initial: Tensor, t: Tensor, time: Any, reverse: bool) -> Tensor:
    """The state before frame t: that after the frame before it, or the initial one.

    Of one tensor: with a loop over h and c, layers of different widths do not compile.
    """
    last = ms.Tensor(time - 1, ms.int32)
    near = mops.minimum(t + 1, last) if reverse else mops.maximum(t - 1, ms.Tensor(0, ms.int32))
    first = time - 1 if reverse else 0
    return operations.Select()(t == first, initial, mops.gather(kept, near, 0))  # pyright: ignore


def part(values: Any, start: int, count: int) -> Any:
    """Some of the values."""
    taken: Any = ()
    for k in range(count):
        taken = (*taken, values[start + k])
    return taken
