"""The forecast loop: an encoder reads frames, then each prediction is read in turn; both modes."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops

from convgru import equations
from convgru_mindspore import loop, ops
from convgru_mindspore.direction import images, sequence
from convgru_mindspore.masks import draw, frame_of

Tensor = Any


def compute(
    spec: Any, parts: Any, x: Tensor, steps: int, state: Any, teaching: Any, training: bool, resume: bool, impl: str
) -> Any:
    """The frames (steps, B, C, *S) and the final state; unchecked, from a complete state.

    ``parts``: encoder and decoder, each (layers, params) as ``loop.run`` takes them, the decoder
    perhaps None, and the prepared readout. ``teaching``: (targets, forced, chance), each of which
    may be None.
    """
    targets, forced, chance = teaching
    if targets is not None and forced is None and training and chance is not None:
        forced = mops.rand(steps, x.shape[1]) < chance
    network, model, frame = spec.encoder, parts[0], x[x.shape[0] - 1]
    patches = sequence(ops.patch(images(x), spec.patch), x)
    masks, tops = None, []
    if not resume:
        if training:
            masks = draw(network, x.shape[0], x.shape[1], patches.shape[3:], x.dtype, None)
        top, state = loop.run(network, model[0], model[1], patches, state, (None, None, masks), False, True, impl)
        tops = [top]
    if spec.decoder is not None:
        network, model, tops, masks = spec.decoder, parts[1], [], None
    ahead = steps - len(tops)
    if training and ahead > 0:
        masks = draw(network, ahead, x.shape[1], patches.shape[3:], x.dtype, masks)
    if not spec.feedback and ahead > 0:  # the decoder reads zeros, all of them known beforehand
        zeros = mops.zeros((ahead, *patches.shape[1:]), x.dtype)
        y, state = loop.run(network, model[0], model[1], zeros, state, (None, None, masks), False, False, impl)
        for k in range(ahead):
            tops.append(y[k])
    return _predict(spec, network, model, parts[2], tops, frame, steps, state, (targets, forced, masks), ahead, impl)


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
    impl: str,
) -> Any:
    """Make the predictions one by one; each is the next input.

    The first come from the top states computed already (``tops``).
    """
    targets, forced, masks = given
    frames = []
    for k in range(steps):
        if k >= len(tops):
            inside = mops.expand_dims(ops.patch(frame, spec.patch), 0)
            extras = (None, None, frame_of(network, masks, k - steps + ahead, inside.shape[3:]))
            top, state = loop.run(network, model[0], model[1], inside, state, extras, False, True, impl)
        else:
            top = tops[k]
        frame = equations.readout(ops, spec, readout, top, frame)
        frames.append(frame)
        if forced is not None and k + 1 < steps:
            where = forced[k].reshape((-1,) + (1,) * (len(frame.shape) - 1))
            frame = mops.where(where, targets[k], frame)
    return mops.stack(frames), state
