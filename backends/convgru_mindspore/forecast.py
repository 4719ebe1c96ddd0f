"""The forecast loop: an encoder reads frames, then each prediction is read in turn; both modes."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops

from convgru import equations
from convgru_mindspore import loop, ops
from convgru_mindspore.masks import draw, frame_of

Tensor = Any


def compute(
    spec: Any, parts: Any, x: Tensor, steps: int, state: Any, teaching: Any, training: bool, resume: bool
) -> Any:
    """The frames (steps, B, C, *S) and the final state; unchecked, from a complete state.

    ``parts``: encoder and decoder, each (layers, params) as ``loop.run`` takes them, the decoder
    perhaps None, and the prepared readout. ``teaching``: (targets, forced, chance), each of which
    may be None.
    """
    time, batch = x.shape[0], x.shape[1]
    targets, forced, chance = teaching
    if targets is not None and forced is None and training and chance is not None:
        forced = mops.rand(steps, batch) < chance
    network, model, frame = spec.encoder, parts[0], x[time - 1]
    images = ops.patch(x.reshape((time * batch, *x.shape[2:])), spec.patch)
    masks, tops = None, []
    if not resume:
        if training:
            masks = draw(network, time, batch, images.shape[2:], x.dtype, None)
        top, state = loop.run(network, model[0], model[1], images, batch, state, (None, None, masks), False, True)
        tops = [top]
    if spec.decoder is not None:
        network, model, tops, masks = spec.decoder, parts[1], [], None
    ahead = steps - len(tops)
    if training and ahead > 0:
        masks = draw(network, ahead, batch, images.shape[2:], x.dtype, masks)
    if not spec.feedback and ahead > 0:  # the decoder reads zeros, all of them known beforehand
        zeros = mops.zeros((ahead * batch, *images.shape[1:]), x.dtype)
        y, state = loop.run(network, model[0], model[1], zeros, batch, state, (None, None, masks), False, False)
        for each in mops.split(y, batch, 0):
            tops.append(each)
    return _predict(spec, network, model, parts[2], tops, frame, steps, state, (targets, forced, masks), ahead)


def _predict(
    spec: Any,
    network: Any,
    model: Any,
    readout: Any,
    tops: Any,
    frame: Tensor,
    steps: int,
    state: Any,
    given: Any,
    ahead: int,
) -> Any:
    """Make the predictions one by one; each is the next input.

    The first come from the top states computed already (``tops``).
    """
    targets, forced, masks = given
    frames = []
    for k in range(steps):
        if k >= len(tops):
            inside = ops.patch(frame, spec.patch)
            extras = (None, None, frame_of(network, masks, k - steps + ahead, inside.shape[2:]))
            top, state = loop.run(network, model[0], model[1], inside, frame.shape[0], state, extras, False, True)
        else:
            top = tops[k]
        frame = equations.readout(ops, spec, readout, top, frame)
        frames.append(frame)
        if forced is not None and k + 1 < steps:
            where = forced[k].reshape((-1,) + (1,) * (len(frame.shape) - 1))
            frame = mops.where(where, targets[k], frame)
    return mops.stack(frames), state
