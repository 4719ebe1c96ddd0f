"""One layer in one direction over a sequence: the readable loop, or one operation of a graph."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru import equations
from convgru.errors import UnsupportedError
from convgru_mindspore import ops
from convgru_mindspore.buffers import part
from convgru_mindspore.graphs import compiling, known
from convgru_mindspore.kept import KINDS, constants_of, kind
from convgru_mindspore.sequence import SEQUENCE, state_count

Tensor = Any


def images(x: Tensor) -> Tensor:
    """(T·B, ...) of (T, B, ...)."""
    shape = x.shape
    return x.reshape((shape[0] * shape[1], *shape[2:]))


def sequence(x: Tensor, like: Tensor) -> Tensor:
    """(T, B, ...) of (T·B, ...), with the T and B of ``like``."""
    return x.reshape((like.shape[0], like.shape[1], *x.shape[1:]))


def frame_numbers(x: Tensor) -> Tensor:
    """0, 1, ... for the frames of (T, ...)."""
    if known(x.shape)[0] == -1:
        return mops.arange(x.shape[0]).astype(ms.int32)  # pyright: ignore[reportOptionalMemberAccess]
    return counted(x.shape[0])


@constexpr
def counted(n: int) -> Any:
    """0, 1, ... n - 1."""
    return ms.Tensor(tuple(range(n)), ms.int32)


def run_direction(
    cell: Any,
    params: Any,
    x: Tensor,
    entry: Any,
    valid: Any,
    context: Any,
    kept: Any,
    reverse: bool,
    keep: bool,
    pick: bool,
    impl: str,
    training: bool = False,
) -> Any:
    """One layer in one direction.

    Outputs of all frames (T, B, H, *S) if ``keep``, the final state, and if ``pick`` the output of
    each sample's last frame. With ``impl`` "fast" the loop is one operation, with "auto" in a graph
    of more than a few frames: ``SEQUENCE``, or if ``training`` one of ``KINDS``.
    """
    if runs_fast(impl, compiling(), known(x.shape)[0], _masked(kept)):
        y, state = _fused(cell, params, x, entry, valid, context, kept, reverse, training)
        last = _last(y, state[0], valid, reverse) if pick else None
    else:
        frames, gates = images(x), []  # the input convolutions of all frames at once
        for k in range(len(cell.steps)):
            gates.append(sequence(equations.input_gates(ops, cell.steps[k], params[k], frames), x))
        state = _parts(cell, entry, gates[0])
        y, state, last = _unrolled(cell, params, gates, state, valid, context, kept, reverse, keep, pick)
    if keep and valid is not None:
        y = mops.where(valid[0], y, mops.zeros_like(y))
    return (y if keep else None), (state[0] if state_count(cell) == 1 else state), last


def _parts(cell: Any, entry: Any, gates: Tensor) -> Any:
    """An entry of the state as a tuple of tensors; zeros, of the size of ``gates``, for None."""
    if entry is None:
        zeros = mops.zeros((gates.shape[1], cell.hidden_channels, *gates.shape[3:]), gates.dtype)
        return (zeros,) * state_count(cell)
    return (entry,) if state_count(cell) == 1 else (entry[0], entry[1])


UNROLLED = 4
"""Up to so many frames the unrolled loop is compiled in less time than ``SEQUENCE``."""
KEEPING = False
"""Whether the gates are kept outside of training too (see ``kept``); tests set it."""
DEPTH, AROUND = 10, 20
"""Calls that a frame of an unrolled loop nests, and those around the loop.

MindSpore allows ``max_call_depth`` of them in a graph.
"""


@constexpr(reuse_result=False)  # pyright: ignore[reportCallIssue]
def runs_fast(impl: str, compiled: bool, time: int, masked: bool) -> bool:
    """Whether the loop is one operation; ``time`` is -1 where it is free, ``impl`` ``loop.run``'s.

    ``masked``: whether there are masks of recurrent dropout or zoneout. Those are for the unrolled
    loop: with one more tensor that is no parameter MindSpore takes the gradients in its loop for
    one another, and does not compile.

    Raises UnsupportedError if ``impl`` is "fast", or the number of frames free, where it does not
    apply; and for more frames than MindSpore can unroll.
    """
    if impl == "fast" and not compiled and time != 1:
        raise UnsupportedError(
            "MindSpore expected graph mode, or a function under mindspore.jit, for impl='fast': in PyNative mode "
            "the loop over time runs in Python; impl='auto' takes what applies"
        )
    if masked and (impl == "fast" or (compiled and time == -1)):
        raise UnsupportedError(
            "MindSpore expected no masks of recurrent dropout or zoneout for impl='fast' and for a free number of "
            "frames: fix the shapes and take impl='auto'"
        )
    if not compiled:
        return False
    fast = not masked and impl != "readable"
    if fast and (impl == "fast" or not 0 <= time <= UNROLLED):
        return True
    if time < 0:
        raise UnsupportedError(
            f"MindSpore expected a fixed number of frames for impl={impl!r}, whose loop over time is unrolled"
        )
    most = (ms.get_context("max_call_depth") - AROUND) // DEPTH
    if time > most:
        why = "masks of recurrent dropout or zoneout" if masked else f"impl={impl!r}"
        raise UnsupportedError(
            f"MindSpore expected at most {most} frames for a graph with {why}, whose loop over time is "
            f"unrolled, got {time}: call the network on parts of the sequence or in PyNative mode, or raise max_call_depth "
            "of mindspore.set_context"
        )
    return False


def _masked(kept: Any) -> bool:
    """Whether there are masks, which only the unrolled loop takes."""
    return kept[0] is not None or (kept[1] is not None and not isinstance(kept[1], float))


def _fused(
    cell: Any, params: Any, x: Any, entry: Any, valid: Any, context: Any, kept: Any, reverse: bool, training: bool
) -> Any:
    """All frames as one operation: the outputs (T, B, H, *S) and the final state."""
    frames = [x]
    if context is not None:
        if len(context.shape) < len(x.shape):  # one for all frames
            context = mops.expand_dims(context, 0) + mops.zeros((x.shape[0], *context.shape), context.dtype)
        frames.append(context)
    gates = x if entry is not None else mops.expand_dims(equations.input_gates(ops, cell.steps[0], params[0], x[0]), 0)
    state = _parts(cell, entry, gates)
    lengths = () if valid is None else (valid[1],)
    name = kind(cell, x.dtype == ms.float64) if (training or KEEPING) and kept[1] is None else ""
    if name != "":
        operation = KINDS[name]
        constants = constants_of(operation.operands, cell, params[0], x)
        results = operation(cell, reverse, tuple(frames), constants, state, lengths)
    else:
        leaves = []
        for k in range(len(cell.steps)):
            for each in ops.leaves(cell.steps[k], params[k]):
                leaves.append(each)
        zoneout = 0.0 if kept[1] is None else kept[1]
        results = SEQUENCE(cell, reverse, zoneout, tuple(frames), tuple(leaves), state, lengths)
    return results[0], part(results, len(state), len(state))  # pyright: ignore


def _last(outputs: Tensor, h: Tensor, valid: Any, reverse: bool) -> Tensor:
    """The output of each sample's last frame; zeros for a sample without valid frames."""
    if valid is None:
        return outputs[outputs.shape[0] - 1] if reverse else h
    if not reverse:
        return mops.where(valid[1] > 0, h, mops.zeros_like(h))
    numbers = frame_numbers(outputs).reshape((-1,) + (1,) * len(h.shape))
    return mops.where(valid[1] == numbers + 1, outputs, mops.zeros_like(outputs)).sum(0)


def _unrolled(
    cell: Any,
    params: Any,
    gates: Any,
    state: Any,
    valid: Any,
    context: Any,
    kept: Any,
    reverse: bool,
    keep: bool,
    pick: bool,
) -> Any:
    """The readable loop; the outputs of all frames only if ``keep``, of the last if ``pick``."""
    steps, batch, recurrent, zone = cell.steps, gates[0].shape[1], kept[0], kept[1]
    frames, zones, contexts, present = [], [], None, None
    for each in gates:
        frames.append(each_frame(each, batch))
    if context is not None and len(context.shape) == len(gates[0].shape):
        contexts = each_frame(context, batch)
    if zone is not None and not isinstance(zone, float):
        for each in zone:
            zones.append(each_frame(each, batch))
    if valid is not None:
        present = each_frame(valid[0], batch)
    outputs, last, parts = [], None, state
    for index in range(len(frames[0])):
        t = len(frames[0]) - 1 - index if reverse else index
        old = parts
        now = context if contexts is None else contexts[t]
        for k in range(len(steps)):
            parts = equations.step_of(steps[k])(ops, steps[k], params[k], frames[k][t], parts, now, recurrent)
        if zone is not None:
            parts = _zoned(zone, zones, t, old, parts)
        if present is not None:
            parts = _held(present[t], old, parts)
        if keep:
            outputs.append(parts[0])
        if pick and reverse:
            last = _first(valid, t, parts[0], last)
    if pick and not reverse:
        last = parts[0] if valid is None else mops.where(valid[1] > 0, parts[0], mops.zeros_like(parts[0]))
    y = None
    if keep:
        y = sequence(mops.concat(outputs[::-1] if reverse else outputs, 0), gates[0])
    return y, parts, last


def each_frame(sequence: Tensor, batch: int) -> Any:
    """The frames of (T, B, ...)."""
    return mops.split(sequence.reshape((-1, *sequence.shape[2:])), batch, 0)


def _zoned(zone: Any, zones: Any, t: int, old: Any, new: Any) -> Any:
    """Zoneout of each part of the state, by masks or their mean."""
    parts = []
    for i in range(len(new)):
        mask = ops.constant(zone, new[i].dtype) if isinstance(zone, float) else zones[i][t]
        parts.append(equations.kept(mask, old[i], new[i]))
    return tuple(parts)


def _held(valid: Tensor, old: Any, new: Any) -> Any:
    """The new state where the frame is valid, else the old one."""
    parts = []
    for i in range(len(new)):
        parts.append(mops.where(valid, new[i], old[i]))
    return tuple(parts)


def _first(valid: Any, t: int, h: Tensor, before: Any) -> Any:
    """Backward pass, last_only: keep the first valid output met.

    Zeros for a sample without valid frames.
    """
    if valid is None:
        return h if before is None else before
    return mops.where(valid[1] == t + 1, h, mops.zeros_like(h) if before is None else before)
