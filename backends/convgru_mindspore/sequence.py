"""A layer over time as one operation of a graph, with a gradient of its own.

MindSpore unrolls Python loops into its graphs: they grow with time, and from about a hundred frames
on do not compile. A loop on a tensor does not grow, but MindSpore cannot differentiate it in
reasonable time. So the loops of both passes are written here, over frames that are read and written
by a counter that is a tensor: a graph serves every number of frames, and with free shapes every
batch and image size. The equations stay those of ``convgru.equations``: the backward loop
differentiates one step after the other, recomputed from the states, which are all that is kept.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn
from mindspore.ops import constexpr, operations

from convgru import equations
from convgru_mindspore import ops

Tensor = Any


class Sequence(nn.Cell):
    """The steps of one layer in one direction over all frames, from convolved inputs.

    Inputs:
        - **cell** (CellSpec), **reverse** (bool) - Which layer, and whether time runs backward.
        - **zoneout** (float) - The mean of the masks of zoneout, 0 for none.
        - **frames** (tuple[Tensor]) - The gates of each step, then a context if there is one, each
            (T, B, ...).
        - **constants** (tuple[Tensor]) - The parameters of each step (``ops.leaves``).
        - **state** (tuple[Tensor]) - The initial state.
        - **lengths** (tuple[Tensor]) - The valid frames of each sample (B, 1, ...), or nothing.

    Outputs:
        The states after each frame, each (T, B, H, *S), of which only the first may be used
        further, and the final state.
    """

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, cell: Any, reverse: Any, zoneout: Any, frames: Any, constants: Any, state: Any, lengths: Any
    ) -> Any:
        """Run the frames one after the other."""
        time, index = mops.shape(frames[0])[0], ms.Tensor(0, ms.int32)
        contexts = len(frames) - len(cell.steps)
        seed = _seed((*frames, *constants, *state))
        state = _live(state, seed, state_count(cell))
        kept: Any = ()
        for k in range(len(state)):
            kept = (*kept, _buffer(time, state[k], seed, k))
        while index < time:
            t = time - 1 - index if reverse else index
            state = step(cell, contexts, zoneout, (*_frames_at(frames, t), *state, *constants), _valid(lengths, t))
            kept = _written(kept, t, state, state_count(cell))
            index = index + 1
        return kept, state

    def bprop(
        self,
        cell: Any,
        reverse: Any,
        zoneout: Any,
        frames: Any,
        constants: Any,
        state: Any,
        lengths: Any,
        out: Any,
        dout: Any,
    ) -> Any:
        """Go back through the frames: the gradients of frames, constants and initial state."""
        kept, outputs, dstate = out[0], dout[0][0], dout[1]
        time, index = mops.shape(frames[0])[0], ms.Tensor(0, ms.int32)
        contexts = len(frames) - len(cell.steps)
        seed = _seed((*frames, *constants, *state, outputs, *dstate))
        state, dstate = _live(state, seed, state_count(cell)), _live(dstate, seed, state_count(cell))
        dframes: Any = ()
        dconstants: Any = ()
        for k in range(len(frames)):
            dframes = (*dframes, _buffer(time, mops.gather(frames[k], index, 0), seed, k + len(state)))
        for each in constants:
            dconstants = (*dconstants, operations.ZerosLike()(each))
        dconstants = _live(dconstants, seed, len(constants))
        while index < time:
            t = index if reverse else time - 1 - index
            old = _before(kept, state, t, time, reverse)
            dnew = (mops.gather(outputs, t, 0) + dstate[0], *_part(dstate, 1, state_count(cell) - 1))
            gradients = derivative(
                cell, contexts, zoneout, (*_frames_at(frames, t), *old, *constants), _valid(lengths, t), dnew
            )
            dframes = _written(dframes, t, gradients, len(frames))
            dstate = _part(gradients, len(frames), len(state))
            dconstants = _added(dconstants, gradients, len(frames) + len(state), len(constants))
            index = index + 1
        dlengths: Any = ()
        for each in lengths:
            dlengths = (*dlengths, operations.ZerosLike()(each))
        return 0, False, 0.0, dframes, dconstants, dstate, dlengths


SEQUENCE = Sequence()
"""The operation; all that it needs are its inputs."""


def step(cell: Any, contexts: int, zoneout: Any, inputs: Any, valid: Any) -> Any:
    """The state after one frame: ``inputs`` are its frames, the state before it, the constants.

    In one flat tuple, read by index: MindSpore does not differentiate slices of tuples.
    """
    gates = len(cell.steps)
    parts = gates + contexts
    first = parts + state_count(cell)
    context = inputs[gates] if contexts > 0 else None
    old = (inputs[parts],) if state_count(cell) == 1 else (inputs[parts], inputs[parts + 1])
    state = old
    for k in range(gates):
        spec = cell.steps[k]
        params = ops.from_leaves(spec, inputs, first)
        first = first + ops.leaf_count(spec)
        state = equations.step_of(spec)(ops, spec, params, inputs[k], state, context, None)
    news = []
    for k in range(len(state)):
        new = state[k]
        if zoneout > 0:
            new = equations.kept(ops.constant(zoneout, new.dtype), old[k], new)
        if valid is not None:
            new = mops.where(valid, new, old[k])
        news.append(new)
    return tuple(news)


@constexpr
def state_count(cell: Any) -> int:
    """The number of tensors of the state: h, or h and c."""
    return len(cell.state_names)


def derivative(cell: Any, contexts: int, zoneout: Any, inputs: Any, valid: Any, dnew: Any) -> Any:
    """The gradients of ``step`` with respect to its inputs.

    Of the sum of the new state times its gradient: MindSpore takes no cotangent of a free shape.
    """

    def weighed(*inputs: Any) -> Any:
        new = step(cell, contexts, zoneout, inputs, valid)
        total = (new[0] * dnew[0]).sum()
        for k in range(1, len(new)):
            total = total + (new[k] * dnew[k]).sum()
        return total

    return ops.gradient(weighed)(*inputs)


def _seed(tensors: Any) -> Tensor:
    """A number that depends on each of these tensors."""
    seed = ms.Tensor(0.0, ms.float32)
    for each in tensors:
        first = operations.Gather()(each.reshape((-1,)), ms.Tensor(0, ms.int32), 0)
        seed = operations.Add()(seed, operations.Cast()(first, ms.float32))
    return seed


def _buffer(time: Any, frame: Tensor, seed: Tensor, salt: int) -> Tensor:
    """Memory for ``time`` frames of this shape, to be written in place.

    What it holds does not matter, but must differ from that of every other buffer: MindSpore makes
    equal values one, and frames of two layers would be written to the same place.
    """
    value = operations.Add()(seed, ops.constant(float(salt), ms.float32))
    return operations.FillV2()((time, *mops.shape(frame)), operations.Cast()(value, frame.dtype))


def _live(values: Any, seed: Tensor, count: int) -> Any:
    """The same values, but no constants, not even zeros.

    What a loop changes must not begin as a constant: MindSpore then may never change it.
    """
    live: Any = ()
    nothing = operations.Less()(seed, seed)
    for k in range(count):
        zero = mops.where(nothing, ops.constant(1.0, values[k].dtype), ops.constant(0.0, values[k].dtype))
        live = (*live, operations.Add()(values[k], zero))
    return live


def _frames_at(frames: Any, t: Tensor) -> Any:
    """Frame t of each tensor."""
    now: Any = ()
    for each in frames:
        now = (*now, mops.gather(each, t, 0))
    return now


def _written(buffers: Any, t: Tensor, frames: Any, count: int) -> Any:
    """The buffers with frame t written in place.

    Their count is said, here and below: inside a loop MindSpore may not know the length of a tuple.
    """
    at = t.reshape((1, 1))
    written: Any = ()
    for k in range(count):
        written = (*written, operations.ScatterNdUpdate()(buffers[k], at, mops.expand_dims(frames[k], 0)))
    return written


def _part(values: Any, start: int, count: int) -> Any:
    """Some of the values."""
    part: Any = ()
    for k in range(count):
        part = (*part, values[start + k])
    return part


def _added(totals: Any, more: Any, start: int, count: int) -> Any:
    """Sums, one by one, of totals and the values from ``start`` on."""
    added: Any = ()
    for k in range(count):
        added = (*added, totals[k] + more[start + k])
    return added


def _before(kept: Any, initial: Any, t: Tensor, time: Any, reverse: bool) -> Any:
    """The state before frame t: that after the frame before it, or the initial one."""
    parts: Any = ()
    for k in range(len(initial)):
        if reverse:
            before = mops.gather(kept[k], mops.minimum(t + 1, ms.Tensor(time - 1, ms.int32)), 0)
            parts = (*parts, mops.where(t == time - 1, initial[k], before))
        else:
            before = mops.gather(kept[k], mops.maximum(t - 1, ms.Tensor(0, ms.int32)), 0)
            parts = (*parts, mops.where(t == 0, initial[k], before))
    return parts


def _valid(lengths: Any, t: Tensor) -> Any:
    """Which samples have a frame t; None without lengths."""
    return lengths[0] > t if len(lengths) > 0 else None
