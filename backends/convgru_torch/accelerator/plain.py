"""The pointwise part of a step by torch's own operations, forward: without Triton, and to compare.

All write into tensors that are given, and take for one frame, of B samples:

Args:
    frames: layout, activations, dtype of the arithmetic.
    a: W*x of all gates (B, G·H, *S), which becomes the gates.
    u: U*h, of those gates that the function computes.
    bias, bias_hn: by channel, or None.
    h, c: the state before, (B, H, *S).
    invalid: (B,), other than 0 for padding, which keeps its state; or None.
    new, new_h, new_c: the state after.
    low: the same h in the convolutions' dtype, where that is another; else None.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convgru_torch.accelerator.frames import Frames
from convgru_torch.ops import ACTIVATIONS


def _vector(frames: Frames, a: Tensor, b: Tensor | None, gates: slice) -> Tensor | int:
    """Some gates' bias, as it is added to ``a``."""
    if b is None:
        return 0
    rows = slice(gates.start * frames.hidden, gates.stop * frames.hidden)
    return b[rows].to(frames.compute).view(-1, *(1,) * (a.ndim - 2))


def _gates(frames: Frames, a: Tensor, gates: slice) -> Tensor:
    return a[:, gates.start * frames.hidden : gates.stop * frames.hidden]


def _before(frames: Frames, a: Tensor, u: Tensor, bias: Tensor | None, gates: slice) -> Tensor:
    """The pre-activations of some gates of ``a``, which are all of ``u``."""
    return _gates(frames, a, gates).to(frames.compute) + u.to(frames.compute) + _vector(frames, a, bias, gates)


def padding(a: Tensor, invalid: Tensor) -> Tensor:
    """A mask of samples, as it broadcasts to (B, H, *S)."""
    return (invalid != 0).view(-1, *(1,) * (a.ndim - 1))


def _put(value: Tensor, new: Tensor, low: Tensor | None) -> None:
    new.copy_(value)
    if low is not None:
        low.copy_(value)


def gru_reset(
    frames: Frames, a: Tensor, u: Tensor, bias: Tensor | None, h: Tensor, invalid: Tensor | None, rh: Tensor
) -> None:
    """R and z of a GRU with the reset gate before, into ``a``; r∘h."""
    both = ACTIVATIONS[frames.outer](_before(frames, a, u, bias, slice(0, 2)))
    r, z = both.chunk(2, 1)
    if invalid is not None:
        z.masked_fill_(padding(z, invalid), 1)
    _gates(frames, a, slice(0, 2)).copy_(both)
    rh.copy_(r * h.to(frames.compute))


def gru_blend(
    frames: Frames, a: Tensor, u: Tensor, bias: Tensor | None, h: Tensor, new: Tensor, low: Tensor | None
) -> None:
    """N of a GRU with the reset gate before, into ``a``, and the new state."""
    n = ACTIVATIONS[frames.inner](_before(frames, a, u, bias, slice(2, 3)))
    z = _gates(frames, a, slice(1, 2)).to(frames.compute)
    _gates(frames, a, slice(2, 3)).copy_(n)
    _put(torch.lerp(n, h.to(frames.compute), z), new, low)


def gru_after(
    frames: Frames,
    a: Tensor,
    u: Tensor,
    bias: Tensor | None,
    bias_hn: Tensor | None,
    h: Tensor,
    invalid: Tensor | None,
    held: Tensor | None,
    new: Tensor,
    low: Tensor | None,
) -> None:
    """A whole step of a GRU with the reset gate after; U_n*h + b_hn into ``held``, if given."""
    first, last = slice(0, 2), slice(2, 3)
    both = ACTIVATIONS[frames.outer](_before(frames, a, _gates(frames, u, first), bias, first))
    r, z = both.chunk(2, 1)
    if invalid is not None:
        z.masked_fill_(padding(z, invalid), 1)
    seen = _gates(frames, u, last).to(frames.compute) + _vector(frames, u, bias_hn, slice(0, 1))
    n = _gates(frames, a, last).to(frames.compute) + _vector(frames, a, bias, last)
    n = ACTIVATIONS[frames.inner](n + r * seen)
    _gates(frames, a, first).copy_(both)
    _gates(frames, a, last).copy_(n)
    if held is not None:
        held.copy_(seen)
    _put(torch.lerp(n, h.to(frames.compute), z), new, low)


def lstm(
    frames: Frames,
    a: Tensor,
    u: Tensor,
    bias: Tensor | None,
    h: Tensor,
    c: Tensor,
    peep: Sequence[Tensor] | None,
    invalid: Tensor | None,
    new_h: Tensor,
    new_c: Tensor,
    low: Tensor | None,
) -> None:
    """A whole step of an LSTM; ``peep``: elementwise peepholes of i, f and o, or None."""
    i, f, g, o = _before(frames, a, u, bias, slice(0, 4)).chunk(4, 1)
    old = c.to(frames.compute)
    if peep is not None:
        i, f = i + peep[0].to(old) * old, f + peep[1].to(old) * old
    outer, inner = ACTIVATIONS[frames.outer], ACTIVATIONS[frames.inner]
    i, f, g = outer(i), outer(f), inner(g)
    value = f * old + i * g
    if invalid is not None:
        mask = padding(h, invalid)
        value, i, f = torch.where(mask, old, value), i.masked_fill(mask, 0), f.masked_fill(mask, 1)
    o = outer(o if peep is None else o + peep[2].to(old) * value)
    out = o * inner(value)
    if invalid is not None:
        out = torch.where(padding(h, invalid), h.to(out), out)
    for gate, values in zip(a.split(frames.hidden, 1), (i, f, g, o), strict=True):
        gate.copy_(values)
    new_c.copy_(value)
    _put(out, new_h, low)


def rnn(
    frames: Frames,
    a: Tensor,
    u: Tensor,
    bias: Tensor | None,
    h: Tensor,
    invalid: Tensor | None,
    new: Tensor,
    low: Tensor | None,
) -> None:
    """A whole step of an RNN."""
    value = ACTIVATIONS[frames.inner](_before(frames, a, u, bias, slice(0, 1)))
    _put(value if invalid is None else torch.where(padding(h, invalid), h.to(value), value), new, low)
