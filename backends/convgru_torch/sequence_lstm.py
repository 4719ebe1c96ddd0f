"""The LSTM's step in the fast sequence function, forward and back; see ``convgru.equations``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convgru_torch.sequence_gates import Chunk, Gates, WeightGradients
from convgru_torch.sequence_ops import (
    DERIVATIVES,
    accumulate,
    activate,
    activate_,
    convolve,
    dense,
    empty,
    transposed,
)
from convgru_torch.sequence_plan import NARROW, Arrays, Plan

Parts = tuple[Tensor, ...]


def kept(plan: Plan) -> tuple[int, ...]:
    """Channels of the tensors that the gradient needs of each step."""
    return (4 * plan.hidden,) if len(plan.blocks) == 1 else (plan.hidden,) * 4


def step(
    plan: Plan, gates: Gates, arrays: Arrays, parts: Parts, invalid: Tensor | None, out: Sequence[Tensor]
) -> list[Tensor]:
    """Write the new state into ``out``; return what the gradient needs.

    A sample whose frame is ``invalid`` keeps its state.
    """
    (h, c), cell = parts, plan.cell
    gates.u.copy_(h)
    blocks = [gates.gate(k) for k in range(len(plan.blocks))]
    i, f, g, o = blocks if len(blocks) == 4 else blocks[0].split(plan.hidden, 1)
    if cell.peephole is not None:
        i.addcmul_(arrays["peephole_i"], c)
        f.addcmul_(arrays["peephole_f"], c)
        activate_(cell.recurrent_activation, blocks[0].narrow(1, 0, 2 * plan.hidden), plan.fuse)
        activate_(cell.activation, g, plan.fuse)
    elif len(blocks) == 1:
        shown = activate(cell.activation, g, plan.fuse)
        place = gates.kept[0] if gates.kept else None
        blocks = [activate_(cell.recurrent_activation, blocks[0], plan.fuse, place)]  # all four: faster than parts
        i, f, g, o = blocks[0].split(plan.hidden, 1)
        g = shown if place is None else g.copy_(shown)
    if invalid is not None:
        i.masked_fill_(invalid, 0)
        f.masked_fill_(invalid, 1)
    new = torch.mul(f, c, out=out[1]).addcmul_(i, g)
    if cell.peephole is not None:
        activate_(cell.recurrent_activation, o.addcmul_(arrays["peephole_o"], new), plan.fuse)
    torch.mul(o, activate(cell.activation, new, plan.fuse), out=out[0])
    if invalid is not None:
        out[0].copy_(torch.where(invalid, h, out[0]))
    return blocks


class Back:
    """The step back through the frames of a chunk; the arguments are those of the GRU's.

    Attributes:
        dx: the gradient with respect to the input, (n, B, C, *S), if ``transposes`` has its weight.
    """

    dx: Tensor | None = None

    def __init__(self, plan: Plan, arrays: Arrays, transposes: Sequence[Tensor], chunk: Chunk) -> None:
        self.plan, self.arrays, self.transposes, self.valid = plan, arrays, transposes, chunk.valid
        self.h, self.c = chunk.before
        self.new, cell = chunk.after[1], plan.cell
        self.held = chunk.held if len(chunk.held) == 4 else chunk.held[0].split(plan.hidden, 2)
        self.outer, self.inner = DERIVATIVES[cell.recurrent_activation], DERIVATIVES[cell.activation]
        self.gates = empty(self.h, self.h.shape[:2], 4 * plan.hidden, plan.state_size)
        channels = len(transposes[0]) - plan.hidden
        if channels:
            self.dx = empty(self.h, self.h.shape[:2], channels, plan.size)
        self.di, self.df, self.dg, self.do = self.gates.split(plan.hidden, 2)

    def step(self, t: int, grads: Parts, through: bool, zero: bool) -> Parts:
        """From the gradient of the state after a frame to that of the state before it."""
        (dh, dc), plan, peephole = grads, self.plan, self.plan.cell.peephole
        i, f, g, o = (gate[t] for gate in self.held)
        shown = activate(plan.cell.activation, self.new[t], plan.fuse)
        rest: Tensor | None = None
        if self.valid is not None:
            rest = torch.where(self.valid[t], 0, dh)
            dh = torch.where(self.valid[t], dh, 0)
        do = torch.mul(dh, self.outer(shown, o), out=self.do[t])
        dc = torch.addcmul(dc, dh, self.inner(o, shown))
        if peephole is not None:
            dc.addcmul_(do, self.arrays["peephole_o"])
        di = torch.mul(dc, self.outer(g, i), out=self.di[t])
        df = torch.mul(dc, self.outer(self.c[t], f), out=self.df[t])
        torch.mul(dc, self.inner(i, g), out=self.dg[t])
        dc.mul_(f)
        if peephole is not None:
            dc.addcmul_(di, self.arrays["peephole_i"]).addcmul_(df, self.arrays["peephole_f"])
        if self.dx is not None:
            dx, dh = convolve(self.gates[t], self.transposes[0], None, plan.back, None, plan.fuse).split(
                [self.dx.shape[2], plan.hidden], 1
            )
            self.dx[t].copy_(dx)
            return dense(dh) if rest is None else rest.add_(dh), dc
        if not through:
            return grads
        if rest is None:
            return convolve(self.gates[t], self.transposes[0], None, plan.back, None, plan.fuse), dc
        accumulate(rest, self.gates[t], self.transposes[0], plan.back, plan.fuse)
        return rest, dc

    def finish(self, x: Tensor, sums: WeightGradients) -> list[tuple[Tensor, slice]]:
        """Add the gradients of the weights; return those of the gates, with their rows."""
        whole = slice(0, 4 * self.plan.hidden)
        sums.both(self.gates, x, self.h, whole)
        if self.plan.cell.peephole is not None and sums.wanted:
            pairs = ((self.di, self.c), (self.df, self.c), (self.do, self.new))
            for name, (grad, seen) in zip(("peephole_i", "peephole_f", "peephole_o"), pairs, strict=True):
                product = (grad * seen).sum((0, 1))
                sums.sums[name] += product.sum_to_size(sums.sums[name].shape)
        return [(self.gates, whole)]


def transposes(plan: Plan, arrays: Arrays, inputs: bool) -> list[Tensor]:
    """The recurrent weights of the gradients with respect to the state.

    Of few channels, if those with respect to the ``inputs`` are wanted too, both weights as one.
    """
    if inputs and plan.joined and plan.hidden <= NARROW:
        return [transposed(torch.cat((arrays["weight_ih"], arrays["weight_hh"]), 1))]
    return [transposed(arrays["weight_hh"])]
