"""The RNN's step in the fast sequence function, forward and back; see ``convgru.equations``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convgru_torch.sequence_gates import Chunk, Gates, WeightGradients
from convgru_torch.sequence_ops import DERIVATIVES, accumulate, convolve, empty, transposed
from convgru_torch.sequence_plan import Arrays, Plan

Parts = tuple[Tensor, ...]


def kept(plan: Plan) -> tuple[int, ...]:
    """Channels of the tensors that the gradient needs of each step: none but the state."""
    return ()


def step(
    plan: Plan, gates: Gates, arrays: Arrays, parts: Parts, invalid: Tensor | None, out: Sequence[Tensor]
) -> list[Tensor]:
    """Write the new state into ``out``; a sample whose frame is ``invalid`` keeps its state."""
    (h,) = parts
    gates.u.copy_(h)
    new = gates.gate(0)
    out[0].copy_(new if invalid is None else torch.where(invalid, h, new))
    return []


class Back:
    """The step back through the frames of a chunk; the arguments are those of the GRU's."""

    dx: Tensor | None = None

    def __init__(self, plan: Plan, arrays: Arrays, transposes: Sequence[Tensor], chunk: Chunk) -> None:
        self.plan, self.transposes, self.valid = plan, transposes, chunk.valid
        (self.h,), (self.new,) = chunk.before, chunk.after
        self.gates = empty(self.h, self.h.shape[:2], plan.hidden, plan.state_size)
        self.inner = DERIVATIVES[plan.cell.activation]

    def step(self, t: int, grads: Parts, through: bool, zero: bool) -> Parts:
        """From the gradient of the state after a frame to that of the state before it."""
        (dh,), plan, rest = grads, self.plan, None
        if self.valid is not None:
            rest, dh = torch.where(self.valid[t], 0, dh), torch.where(self.valid[t], dh, 0)
        gate = self.gates[t].copy_(self.inner(dh, self.new[t]))
        if not through:
            return grads
        if rest is None:
            return (convolve(gate, self.transposes[0], None, plan.back, None, plan.fuse),)
        accumulate(rest, gate, self.transposes[0], plan.back, plan.fuse)
        return (rest,)

    def finish(self, x: Tensor, sums: WeightGradients) -> list[tuple[Tensor, slice]]:
        """Add the gradients of the weights; return those of the gates, with their rows."""
        whole = slice(0, self.plan.hidden)
        sums.both(self.gates, x, self.h, whole)
        return [(self.gates, whole)]


def transposes(plan: Plan, arrays: Arrays, inputs: bool) -> list[Tensor]:
    """The recurrent weights of the gradients with respect to the state."""
    return [transposed(arrays["weight_hh"])]
