"""The pointwise part of a step by torch's own operations, back: the gradients of ``plain``.

Args:
    given: the gradient of a frame's output, or None.
    carry: that of its state as later frames give it, or None; becomes part of that of the state
        before, of which another convolution's result, ``conv``, is to be added.
    conv: what the convolution of the frame after gave, or None.
    rz, dn, gx, gh, gates, gate: gradients of pre-activations, to be written.
    Others as in ``plain``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convgru_torch.accelerator.frames import Frames
from convgru_torch.accelerator.plain import padding
from convgru_torch.ops import ACTIVATIONS
from convgru_torch.sequence_ops import DERIVATIVES


def _arriving(frames: Frames, like: Tensor, *grads: Tensor | None) -> Tensor:
    """The sum of the gradients that are there, a new tensor."""
    total = torch.zeros_like(like, dtype=frames.compute)
    for grad in grads:
        if grad is not None:
            total += grad
    return total


def _but_padding(grad: Tensor, invalid: Tensor | None) -> Tensor:
    """Zero for padding, whose gates are not what the activation gave."""
    return grad if invalid is None else grad.masked_fill(padding(grad, invalid), 0)


def gru_blend_back(
    frames: Frames,
    given: Tensor | None,
    carry: Tensor,
    conv: Tensor | None,
    a: Tensor,
    h: Tensor,
    invalid: Tensor | None,
    rz: Tensor,
    dn: Tensor,
) -> None:
    """Of z and n, and dh∘z into ``carry``, of a GRU with the reset gate before."""
    dh = _arriving(frames, h, given, carry, conv)
    _, z, n = a.to(frames.compute).chunk(3, 1)
    rz[:, frames.hidden :].copy_(_but_padding(DERIVATIVES[frames.outer](dh * (h.to(dh) - n), z), invalid))
    dn.copy_(DERIVATIVES[frames.inner](dh * (1 - z), n))
    carry.copy_(dh * z)


def gru_reset_back(frames: Frames, through: Tensor, a: Tensor, h: Tensor, rz: Tensor, carry: Tensor) -> None:
    """Of r, from the gradient of r∘h, ``through``, whose part of h is added to ``carry``."""
    grad, r = through.to(frames.compute), a[:, : frames.hidden].to(frames.compute)
    rz[:, : frames.hidden].copy_(DERIVATIVES[frames.outer](grad * h.to(grad), r))
    carry.add_(grad * r)


def gru_after_back(
    frames: Frames,
    given: Tensor | None,
    carry: Tensor,
    conv: Tensor | None,
    a: Tensor,
    held: Tensor,
    h: Tensor,
    invalid: Tensor | None,
    gx: Tensor,
    gh: Tensor,
) -> None:
    """Of all gates of a GRU with the reset gate after: as W has them, and as U has them."""
    dh = _arriving(frames, h, given, carry, conv)
    r, z, n = a.to(frames.compute).chunk(3, 1)
    dz = _but_padding(DERIVATIVES[frames.outer](dh * (h.to(dh) - n), z), invalid)
    dn = DERIVATIVES[frames.inner](dh * (1 - z), n)
    dr = DERIVATIVES[frames.outer](dn * held.to(dn), r)
    for gates, last in ((gx, dn), (gh, dn * r)):
        for gate, value in zip(gates.split(frames.hidden, 1), (dr, dz, last), strict=True):
            gate.copy_(value)
    carry.copy_(dh * z)


def _split(dh: Tensor, invalid: Tensor | None, carry: Tensor | None) -> Tensor:
    """The gradient of frames that are no padding; that of padding goes into ``carry``."""
    if invalid is None:
        return dh
    assert carry is not None
    mask = padding(dh, invalid)
    carry.copy_(torch.where(mask, dh, 0))
    return torch.where(mask, 0, dh)


def lstm_back(
    frames: Frames,
    given: Tensor | None,
    carry: Tensor | None,
    conv: Tensor | None,
    dc: Tensor,
    a: Tensor,
    c: Tensor,
    new_c: Tensor,
    peep: Sequence[Tensor] | None,
    invalid: Tensor | None,
    gates: Tensor,
) -> None:
    """Of all gates of an LSTM; ``dc``, of c after the frame, becomes that of c before."""
    dh = _split(_arriving(frames, c, given, carry, conv), invalid, carry)
    outer, inner = DERIVATIVES[frames.outer], DERIVATIVES[frames.inner]
    i, f, g, o = a.to(frames.compute).chunk(4, 1)
    shown = ACTIVATIONS[frames.inner](new_c.to(frames.compute))
    do = outer(dh * shown, o)
    total = dc + inner(dh * o, shown)
    if peep is not None:
        total = total + do * peep[2].to(do)
    di, df, dg = outer(total * g, i), outer(total * c.to(dh), f), inner(total * i, g)
    di, df, total = _but_padding(di, invalid), _but_padding(df, invalid), total * f
    if peep is not None:
        total = total + di * peep[0].to(di) + df * peep[1].to(df)
    for gate, value in zip(gates.split(frames.hidden, 1), (di, df, dg, do), strict=True):
        gate.copy_(value)
    dc.copy_(total)


def rnn_back(
    frames: Frames,
    given: Tensor | None,
    carry: Tensor | None,
    conv: Tensor | None,
    y: Tensor,
    invalid: Tensor | None,
    gate: Tensor,
) -> None:
    """Of an RNN's pre-activation, from the state ``y`` after the frame."""
    dh = _split(_arriving(frames, y, given, carry, conv), invalid, carry)
    gate.copy_(DERIVATIVES[frames.inner](dh, y.to(dh)))
