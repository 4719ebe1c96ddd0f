"""The gates of a step in the fast sequence function, forward, and their weights' gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from convgru_torch.sequence_ops import (
    accumulate,
    activate_,
    convolve,
    dense,
    empty,
    input_gradient,
    weight_gradient,
    wide,
)
from convgru_torch.sequence_plan import Arrays, Block, Plan


class Gates:
    """The convolutions of a step, of input and state.

    Where both have the same geometry one convolution reads both, from a buffer that holds
    [x | u]; elsewhere W*x is computed for many frames at once, and U*u is added. u, what the
    recurrent convolution reads, is to be written into the attribute ``u``.

    While ``idle`` is True u is zeros, and nothing is convolved with U. ``kept`` is where what
    ``step`` returns is to be kept for the gradient; it may write there, and return that. Empty
    where nothing is.
    """

    kept: Sequence[Tensor] = ()

    u: Tensor

    def __init__(self, plan: Plan, arrays: Arrays, batch: int, idle: bool = False) -> None:
        self.plan, self.batch, self.idle = plan, batch, idle
        w, u, bias = arrays["weight_ih"], arrays["weight_hh"], arrays.get("bias")
        self.biases = [None if bias is None else block.take(bias) for block in plan.blocks]
        if plan.joined:
            channels = w.shape[1]
            self.w = [dense(block.take(w)) for block in plan.blocks] if idle else []
            self.joined = [dense(torch.cat((block.take(w), block.take(u)), 1)) for block in plan.blocks]
            self.both = empty(w, (batch,), channels + plan.hidden, plan.state_size)
            self.x, self.u = self.both[:, :channels], self.both[:, channels:]
        else:
            self.w = [dense(block.take(w)) for block in plan.blocks]
            self.hh = [dense(block.take(u)) for block in plan.blocks]
            self.u = empty(w, (batch,), plan.hidden, plan.state_size)

    def open(self, x: Tensor) -> None:
        """Take frames (n, batch, C, *S)."""
        if self.plan.joined:
            self.frames: Sequence[Tensor] = x.unbind(0)
            return
        flat, lead = dense(x.flatten(0, 1)), x.shape[:2]
        ahead = [
            convolve(flat, w, b, self.plan.ih, None, self.plan.fuse) for w, b in zip(self.w, self.biases, strict=True)
        ]
        self.ahead = [a.view(*lead, *a.shape[1:]).unbind(0) for a in ahead]

    def frame(self, i: int) -> None:
        """Go to one of the frames."""
        if self.plan.joined:
            if self.idle:
                self.alone = dense(self.frames[i])
            else:
                self.x.copy_(self.frames[i])
        else:
            self.now = [a[i] for a in self.ahead]

    def input(self, k: int) -> Tensor:
        """W*x + b of block k, where input and state are not joined; may be overwritten."""
        return self.now[k]

    def gate(self, k: int) -> Tensor:
        """Block k, activated if it has an activation; a tensor that may be overwritten."""
        plan, block = self.plan, self.plan.blocks[k]
        if plan.joined and self.idle:
            return convolve(self.alone, self.w[k], self.biases[k], plan.ih, block.activation, plan.fuse)
        if plan.joined:
            return convolve(self.both, self.joined[k], self.biases[k], plan.hh, block.activation, plan.fuse)
        a = self.now[k]
        if not self.idle:
            accumulate(a, self.u, self.hh[k], plan.hh, plan.fuse)
        return a if block.activation is None else activate_(block.activation, a, plan.fuse)


class Chunk(NamedTuple):
    """What is known of the frames that are taken back together, as many of everything.

    Attributes:
        before, after: the states before and after each frame, (n, B, H, *S) for each part.
        held: what a cell's ``step`` returned of each frame, (n, B, K, *S).
        valid: which frames are no padding, (n, B, 1, …), or None.
    """

    before: Sequence[Tensor]
    after: Sequence[Tensor]
    held: Sequence[Tensor]
    valid: Tensor | None


class WeightGradients:
    """Sums of the gradients with respect to the parameters of the gates."""

    def __init__(self, plan: Plan, arrays: Arrays, wanted: bool) -> None:
        self.plan, self.wanted, self.arrays = plan, wanted, arrays
        self.frames: Tensor | None = None
        self.read: Tensor | None = None
        self.sums: dict[str, Tensor] = {name: torch.zeros_like(a) for name, a in arrays.items()} if wanted else {}

    def add(self, name: str, rows: slice, grad: Tensor) -> None:
        """Add to some rows of a parameter's gradient."""
        self.sums[name][rows] += grad

    def both(self, grad: Tensor, x: Tensor, h: Tensor, rows: slice, r: Tensor | None = None) -> None:
        """Take the gradient of gates (n, B, K, *S) from as many x and what U read, h or r∘h."""
        if not self.wanted:
            return
        if not self.plan.joined:
            self.input(grad, x, rows)
            self.state(grad, h if r is None else r * h, rows, None)
            return
        channels = x.shape[2]
        if self.frames is not x:  # else the same [x | h] as in the call before
            self.frames, self.read = x, self._memory(x)
            self.read[:, :, :channels].copy_(x)
        assert self.read is not None
        both, u = self.read, self.read[:, :, channels:]
        if r is None:
            u.copy_(h)
        else:
            torch.mul(r, h, out=u)
        weight = torch.cat((self.arrays["weight_ih"][rows], self.arrays["weight_hh"][rows]), 1)
        dw, db = weight_gradient(grad.flatten(0, 1), both.flatten(0, 1), weight, self.plan.hh, "bias" in self.sums)
        self.add("weight_ih", rows, dw[:, :channels])
        self.add("weight_hh", rows, dw[:, channels:])
        if db is not None:
            self.add("bias", rows, db)

    def _memory(self, x: Tensor) -> Tensor:
        """Memory for [x | h] of frames x: that of other frames, if there were as many."""
        channels, size = x.shape[2] + self.plan.hidden, self.plan.state_size
        if self.read is not None and len(self.read) == len(x):
            return self.read
        if wide(x, channels):
            return x.new_empty(*x.shape[:2], channels, *size)
        return empty(x, x.shape[:2], channels, size)

    def input(self, grad: Tensor, x: Tensor, rows: slice) -> None:
        """The same from the input alone."""
        if not self.wanted:
            return
        weight = self.arrays["weight_ih"][rows]
        dw, db = weight_gradient(grad.flatten(0, 1), dense(x.flatten(0, 1)), weight, self.plan.ih, "bias" in self.sums)
        self.add("weight_ih", rows, dw)
        if db is not None:
            self.add("bias", rows, db)

    def state(self, grad: Tensor, u: Tensor, rows: slice, bias: slice | None) -> None:
        """The same from what U read alone; ``bias``: which of grad's channels have bias_hn."""
        if not self.wanted:
            return
        weight = self.arrays["weight_hh"][rows]
        with_bias = bias is not None and "bias_hn" in self.sums
        dw, db = weight_gradient(grad.flatten(0, 1), dense(u.flatten(0, 1)), weight, self.plan.hh, with_bias)
        self.add("weight_hh", rows, dw)
        if db is not None and bias is not None:
            self.sums["bias_hn"] += db[bias]


def frames_gradient(plan: Plan, arrays: Arrays, x: Tensor, grads: Sequence[tuple[Tensor, slice]]) -> Tensor:
    """Gradient with respect to frames x (n, B, C, *S) from those of all gates."""
    total: Tensor | None = None
    flat = dense(x.flatten(0, 1))
    for grad, rows in grads:
        part = input_gradient(grad.flatten(0, 1), flat, arrays["weight_ih"][rows], plan.ih)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total.view(x.shape)


__all__ = ["Block", "Chunk", "Gates", "WeightGradients", "frames_gradient"]
