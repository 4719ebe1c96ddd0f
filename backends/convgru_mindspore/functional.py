"""Networks and forecasters as pure functions of their arrays, x and state: what every MindSpore module here calls."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops

from convgru import equations
from convgru_mindspore import loop, ops
from convgru_mindspore.arguments import (
    checked_resume,
    checked_steps,
    ready_arrays,
    ready_extras,
    ready_state,
    ready_teaching,
)
from convgru_mindspore.masks import draw, frame_of

Tensor = Any
NOTHING = (None, None, None)


def run(
    spec: Any,
    arrays: Any,
    x: Tensor,
    state: Any = None,
    accurate: bool = True,
    seq_length: Any = None,
    context: Any = None,
    masks: Any = None,
    return_all_layers: bool = False,
    last_only: bool = False,
    training: bool = False,
) -> Any:
    """Run a NetworkSpec on x (T, B, C, *S): output (T, B, H, *S) and final state.

    ``arrays`` maps canonical names to tensors of x's dtype; ``state`` None means zeros, else one entry for each layer and direction, h
    or (h, c), of shape (B, H, *S). The equations are those of ``convgru.equations``; ``accurate`` False takes MindSpore's own
    sigmoid and tanh. The others are as in the call of ``convgru.mindspore.ConvGRU``; ``training`` draws masks where none are given.
    Works in PyNative and, called from a construct or a jitted function, in graph mode, differentiably in both. Raises ValueError or
    TypeError, naming what is wrong.
    """
    dtype = ready_arrays(spec, arrays)
    state = ready_state(spec, x, state, dtype, "TBCS")
    extras = ready_extras(spec, x, seq_length, context, masks, dtype, "TBCS")
    return compute(spec, arrays, x, state, accurate, extras, return_all_layers, last_only, training)


def compute(
    spec: Any, arrays: Any, x: Tensor, state: Any, accurate: bool, extras: Any, every: bool, last: bool, training: bool
) -> Any:
    """``run`` without its checks, on a complete state; ``extras`` is (seq_length, context, masks)."""
    time, batch = x.shape[0], x.shape[1]
    if training and extras[2] is None:
        extras = (extras[0], extras[1], draw(spec, time, batch, x.shape[3:], x.dtype, None))
    params = loop.prepare(spec, arrays, "")
    images = x.reshape((time * batch, *x.shape[2:]))
    found, state = loop.run(spec, params, images, batch, state, extras, accurate, every, last)
    if last:
        return (tuple(found) if every else found), state
    if not every:
        return found.reshape((time, batch, *found.shape[1:])), state
    outputs = []
    for y in found:
        outputs.append(y.reshape((time, batch, *y.shape[1:])))
    return tuple(outputs), state


def forecast(
    spec: Any,
    arrays: Any,
    x: Tensor,
    steps: int,
    state: Any = None,
    accurate: bool = True,
    targets: Any = None,
    forced: Any = None,
    teacher_forcing: Any = None,
    training: bool = False,
    resume: bool = False,
) -> Any:
    """Run a ForecasterSpec: x (T, B, C, *S) in, the ``steps`` frames that follow out, and the state of what made the last.

    Arguments and errors as in ``run`` and in the call of ``convgru.mindspore.Forecaster``, and ValueError for ``steps`` that is no
    positive integer.
    """
    dtype = ready_arrays(spec, arrays)
    resume = checked_resume(spec.title, resume, x.shape[0], state is not None)
    state = ready_state(spec, x, state, dtype, "TBCS")
    steps = checked_steps(spec.title, steps)
    teaching = ready_teaching(spec, x, steps, targets, forced, dtype, "TBCS")
    return compute_forecast(spec, arrays, x, steps, state, accurate, teaching, teacher_forcing, training, resume)


def compute_forecast(
    spec: Any,
    arrays: Any,
    x: Tensor,
    steps: int,
    state: Any,
    accurate: bool,
    teaching: Any,
    chance: Any,
    training: bool,
    resume: bool,
) -> Any:
    """``forecast`` without its checks, on a complete state; ``teaching`` is (targets, forced)."""
    time, batch = x.shape[0], x.shape[1]
    targets, forced = teaching
    if targets is not None and forced is None and training and chance is not None:
        forced = mops.rand(steps, batch) < chance
    network, params, frame = spec.encoder, loop.prepare(spec.encoder, arrays, "encoder."), x[time - 1]
    images = ops.patch(x.reshape((time * batch, *x.shape[2:])), spec.patch)
    own, tops = None, []
    if not resume:
        if training:
            own = draw(network, time, batch, images.shape[2:], x.dtype, None)
        top, state = loop.run(network, params, images, batch, state, (None, None, own), accurate, False, True)
        tops = [top]
    if spec.decoder is not None:
        network, params, tops, own = spec.decoder, loop.prepare(spec.decoder, arrays, "decoder."), [], None
    ahead = steps - len(tops)
    if training and ahead > 0:
        own = draw(network, ahead, batch, images.shape[2:], x.dtype, own)
    if not spec.feedback and ahead > 0:  # what it reads is known beforehand
        zeros = mops.zeros((ahead * batch, *images.shape[1:]), x.dtype)
        y, state = loop.run(network, params, zeros, batch, state, (None, None, own), accurate, False, False)
        for each in mops.split(y, batch, 0):
            tops.append(each)
    return _predict(spec, arrays, network, params, tops, frame, steps, state, accurate, (targets, forced, own), ahead)


def _predict(
    spec: Any,
    arrays: Any,
    network: Any,
    params: Any,
    tops: Any,
    frame: Tensor,
    steps: int,
    state: Any,
    accurate: bool,
    given: Any,
    ahead: int,
) -> Any:
    """Each prediction in turn: from the top states that are there already, then from what the network makes of the last frame."""
    targets, forced, masks = given
    readout, frames = ops.prepare_readout(spec, arrays), []
    for k in range(steps):
        if k >= len(tops):
            inside = ops.patch(frame, spec.patch)
            extras = (None, None, frame_of(network, masks, k - steps + ahead, inside.shape[2:]))
            top, state = loop.run(network, params, inside, frame.shape[0], state, extras, accurate, False, True)
        else:
            top = tops[k]
        frame = equations.readout(ops, spec, readout, top, frame)
        frames.append(frame)
        if forced is not None and k + 1 < steps:
            where = forced[k].reshape((-1,) + (1,) * (len(frame.shape) - 1))
            frame = mops.where(where, targets[k], frame)
    return mops.stack(frames), state
