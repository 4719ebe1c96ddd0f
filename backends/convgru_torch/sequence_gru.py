"""The GRU's step in the fast sequence function, forward and back; see ``convgru.equations``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convgru_torch.sequence_gates import Chunk, Gates, WeightGradients
from convgru_torch.sequence_ops import DERIVATIVES, accumulate, activate, convolve, empty, transposed
from convgru_torch.sequence_plan import Arrays, Plan

Parts = tuple[Tensor, ...]


def kept(plan: Plan) -> tuple[int, ...]:
    """Channels of the tensors that the gradient needs of each step."""
    late = plan.cell.reset == "after"
    gates = (2 * plan.hidden,) if len(plan.blocks) == 2 else (plan.hidden,) * 2
    return *gates, *(plan.hidden,) * (2 if late else 1)


def step(
    plan: Plan, gates: Gates, arrays: Arrays, parts: Parts, invalid: Tensor | None, out: Sequence[Tensor]
) -> list[Tensor]:
    """Write the new state into ``out``; return what the gradient needs.

    A sample whose frame is ``invalid`` keeps its state, for its z becomes one.
    """
    (h,), last = parts, len(plan.blocks) - 1
    gates.u.copy_(h)
    held = [gates.gate(k) for k in range(last)]
    r, z = (part for block in held for part in block.split(plan.hidden, 1))
    if invalid is not None:
        z.masked_fill_(invalid, 1)
    if plan.cell.reset == "after":
        bias = arrays.get("bias_hn")
        if gates.idle:
            u = h if bias is None else h + bias.view(-1, *(1,) * len(plan.size))
        else:
            u = convolve(gates.u, gates.hh[last], bias, plan.hh, None, plan.fuse)
        n = activate(plan.cell.activation, gates.input(last).addcmul_(r, u), plan.fuse)
        held += [n, u]
    else:
        torch.mul(r, h, out=gates.u)
        n = gates.gate(last)
        held += [n]
    torch.lerp(n, h, z, out=out[0])
    return held


class Back:
    """The step back through the frames of a chunk.

    Args:
        plan, arrays: of the call.
        transposes: what the function of that name returned.
        chunk: the frames; which of them are no padding z says here.
    """

    dx: Tensor | None = None

    def __init__(self, plan: Plan, arrays: Arrays, transposes: Sequence[Tensor], chunk: Chunk) -> None:
        self.plan, self.transposes = plan, transposes
        self.held = [gate for block in chunk.held for gate in block.split(plan.hidden, 2)]
        (self.h,), cell, hidden = chunk.before, plan.cell, plan.hidden
        self.outer, self.inner = DERIVATIVES[cell.recurrent_activation], DERIVATIVES[cell.activation]
        self.late, lead = cell.reset == "after", self.h.shape[:2]
        width = 3 if self.late else 2
        self.rz = empty(self.h, lead, width * hidden, plan.state_size)
        """Gradients of r and z, and with the reset gate after, of U_n*h."""
        self.dr, self.dz = self.rz[:, :, :hidden], self.rz[:, :, hidden : 2 * hidden]
        self.du = self.rz[:, :, 2 * hidden :]
        self.dn = empty(self.h, lead, hidden, plan.state_size)

    def step(self, i: int, grads: Parts, through: bool, zero: bool) -> Parts:
        """From the gradient of the state after a frame to that of the state before it.

        Args:
            i: the frame.
            grads: the gradient of the state after it.
            through: whether that of the state before it is wanted; else what is returned is none.
            zero: whether the state before it is zeros.
        """
        (dh,), plan = grads, self.plan
        h, (r, z, n) = self.h[i], (gate[i] for gate in self.held[:3])
        torch.mul(dh, self.outer(h - n, z), out=self.dz[i])
        new = dh * z
        dn = self.dn[i].copy_(self.inner(dh - new, n))
        if self.late:
            torch.mul(dn, self.outer(self.held[3][i], r), out=self.dr[i])
            torch.mul(dn, r, out=self.du[i])
        elif zero and not through:
            self.dr[i].zero_()
        else:
            dp = convolve(dn, self.transposes[1], None, plan.back, None, plan.fuse)
            torch.mul(dp, self.outer(h, r), out=self.dr[i])
            new.addcmul_(dp, r)
        if through:
            accumulate(new, self.rz[i], self.transposes[0], plan.back, plan.fuse)
        return (new,)

    def finish(self, x: Tensor, sums: WeightGradients) -> list[tuple[Tensor, slice]]:
        """Add the gradients of the weights; return those of the gates, with their rows."""
        hidden = self.plan.hidden
        first, last = slice(0, 2 * hidden), slice(2 * hidden, 3 * hidden)
        if not self.late:
            sums.both(self.rz, x, self.h, first)
            sums.both(self.dn, x, self.h, last, self.held[0])
            return [(self.rz, first), (self.dn, last)]
        gates = empty(self.h, self.h.shape[:2], 3 * hidden, self.plan.state_size)
        gates[:, :, first].copy_(self.rz[:, :, first])
        gates[:, :, last].copy_(self.dn)
        whole = slice(0, 3 * hidden)
        sums.input(gates, x, whole)
        sums.state(self.rz, self.h, whole, last)
        return [(gates, whole)]


def transposes(plan: Plan, arrays: Arrays, inputs: bool) -> list[Tensor]:
    """The recurrent weights of the gradients with respect to the state."""
    hidden, weight = plan.hidden, arrays["weight_hh"]
    if plan.cell.reset == "after":
        return [transposed(weight)]
    return [transposed(weight[: 2 * hidden]), transposed(weight[2 * hidden :])]
