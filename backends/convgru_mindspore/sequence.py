"""A layer over time as one operation of a graph, with a gradient of its own.

MindSpore unrolls Python loops into its graphs: they grow with time, and from about a hundred frames
on do not compile. A loop on a tensor does not grow, but MindSpore cannot differentiate it in
reasonable time. So the loops of both passes are written here, over frames that are read and written
by a counter that is a tensor: a graph serves every number of frames, and with free shapes every
batch and image size. The equations stay those of ``convgru.equations``: the backward loop
differentiates one step after the other, recomputed from the states, which are all that is kept; in
training ``kept`` keeps more.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn
from mindspore.ops import constexpr, operations

from convgru import equations
from convgru_mindspore import ops
from convgru_mindspore.buffers import before, buffer, flat, frames_at, live, pair, part, seed_of, shaped, written

Tensor = Any


class Sequence(nn.Cell):
    """The steps of one layer in one direction over all frames.

    Inputs:
        - **cell** (CellSpec), **reverse** (bool) - Which layer, and whether time runs backward.
        - **zoneout** (float) - The mean of the masks of zoneout, 0 for none.
        - **frames** (tuple[Tensor]) - x, then a context if there is one, each (T, B, ...).
        - **constants** (tuple[Tensor]) - The parameters of each step (``ops.leaves``).
        - **state** (tuple[Tensor]) - The initial state.
        - **lengths** (tuple[Tensor]) - The valid frames of each sample (B, 1, ...), or nothing.

    Outputs:
        In one flat tuple the states after each frame, each (T, B, H, *S), of which only the first
        may be used further, and the final state.
    """

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, cell: Any, reverse: Any, zoneout: Any, frames: Any, constants: Any, state: Any, lengths: Any
    ) -> Any:
        """Run the frames one after the other."""
        count, contexts = state_count(cell), len(frames) - 1
        x, context = frames[0], frames[contexts]
        time, index = mops.shape(x)[0], ms.Tensor(0, ms.int32)
        seed = seed_of((*frames, *constants, *state))
        state = live(state, seed, count)
        h, last = state[0], state[count - 1]
        outputs, lasts = buffer(time, h, seed, 0), buffer(time, last, seed, count - 1)
        while index < time:
            t = time - 1 - index if reverse else index
            now = frames_at(pair(x, context, 1 + contexts), t)
            new = step(cell, contexts, zoneout, (*now, *pair(h, last, count), *constants), _valid(lengths, t))
            h, last = new[0], new[count - 1]
            outputs = written(outputs, t, h)
            lasts = outputs if count == 1 else written(lasts, t, last)
            index = index + 1
        return (*pair(outputs, lasts, count), *pair(h, last, count))

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
        count = state_count(cell)
        kept, outputs, ends = part(out, 0, count), dout[0], part(dout, count, count)
        contexts = len(frames) - 1
        x, context = frames[0], frames[contexts]
        time, index = mops.shape(x)[0], ms.Tensor(0, ms.int32)
        seed = seed_of((*frames, *constants, *state, outputs, *ends))
        state, dstate = live(state, seed, count), live(ends, seed, count)
        dh, dlast = dstate[0], dstate[count - 1]
        dx = buffer(time, mops.gather(x, index, 0), seed, count)
        dcontext = buffer(time, mops.gather(context, index, 0), seed, count + contexts)
        total = live((operations.ZerosLike()(flat(constants, 0, len(constants))),), seed, 1)[0]
        while index < time:
            t = index if reverse else time - 1 - index
            now = frames_at(pair(x, context, 1 + contexts), t)
            old_h = before(kept[0], state[0], t, time, reverse)
            old = pair(old_h, before(kept[count - 1], state[count - 1], t, time, reverse), count)
            dnew = pair(mops.gather(outputs, t, 0) + dh, dlast, count)
            gradients = derivative(cell, contexts, zoneout, (*now, *old, *constants), _valid(lengths, t), dnew)
            dx = written(dx, t, gradients[0])
            dcontext = dx if contexts == 0 else written(dcontext, t, gradients[1])
            dh, dlast = gradients[len(frames)], gradients[len(frames) + count - 1]
            total = total + flat(gradients, len(frames) + count, len(constants))
            index = index + 1
        dlengths: Any = ()
        for each in lengths:
            dlengths = (*dlengths, operations.ZerosLike()(each))
        dframes = pair(dx, dcontext, len(frames))
        return 0, False, 0.0, dframes, shaped(total, constants), pair(dh, dlast, count), dlengths


SEQUENCE = Sequence()
"""The operation; all that it needs are its inputs."""


def step(cell: Any, contexts: int, zoneout: Any, inputs: Any, valid: Any) -> Any:
    """The state after one frame: ``inputs`` are its frames, the state before it, the constants.

    In one flat tuple, read by index: MindSpore does not differentiate slices of tuples.
    """
    parts = 1 + contexts
    first = parts + state_count(cell)
    context = inputs[1] if contexts > 0 else None
    old = (inputs[parts],) if state_count(cell) == 1 else (inputs[parts], inputs[parts + 1])
    state = old
    for k in range(len(cell.steps)):
        spec = cell.steps[k]
        params = ops.from_leaves(spec, inputs, first)
        first = first + ops.leaf_count(spec)
        gates = equations.input_gates(ops, spec, params, inputs[0])
        state = equations.step_of(spec)(ops, spec, params, gates, state, context, None)
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


def _valid(lengths: Any, t: Tensor) -> Any:
    """Which samples have a frame t; None without lengths."""
    return lengths[0] > t if len(lengths) > 0 else None
