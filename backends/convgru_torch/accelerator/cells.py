"""The step of each cell on an accelerator, forward and back; see ``convgru.equations``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convgru_torch.accelerator import frames as layout
from convgru_torch.accelerator.frames import Frames
from convgru_torch.accelerator.gradients import Sums
from convgru_torch.sequence_plan import Arrays, Plan

Parts = tuple[Tensor, ...]


class Now(NamedTuple):
    """A frame on the way forward.

    Attributes:
        a: W*x of all gates, which become the gates.
        parts: the state before; ``read``, h as convolutions read it.
        invalid: which samples are padding, or None.
        new: the state after, to be written; ``low``, h as convolutions read it, where that is
            another tensor.
        held: what else the gradient needs, to be written, or None.
    """

    a: Tensor
    parts: Parts
    read: Tensor
    invalid: Tensor | None
    new: Sequence[Tensor]
    low: Tensor | None
    held: Tensor | None


class Then(NamedTuple):
    """A frame on the way back: what ``Now`` had, the state after, and the output's gradient."""

    gates: Tensor
    held: Tensor | None
    before: Parts
    after: Parts
    invalid: Tensor | None
    given: Tensor | None
    grads: Sequence[Tensor]
    """Of the pre-activations, to be written: as the cell's ``widths`` has them."""


class Cell:
    """One layer: its weights as the convolutions take them, and its pointwise functions."""

    holds = False
    """Whether the gradient needs something besides the gates."""
    widths: tuple[int, ...] = ()
    """Of how many gates each tensor of gradients is."""

    def __init__(self, plan: Plan, arrays: Arrays, frames: Frames, pointwise: Any) -> None:
        self.plan, self.frames, self.pointwise = plan, frames, pointwise
        self.arrays = arrays
        self.bias = self.vector("bias")

    def vector(self, name: str) -> Tensor | None:
        """A bias as kernels read it, one number after another; None where there is none."""
        found = self.arrays.get(name)
        return None if found is None else found.contiguous()

    def weights(self, *rows: slice) -> list[Tensor]:
        """Rows of the recurrent weights, for the way forward."""
        return [layout.arranged(self.arrays["weight_hh"][part], self.frames.last) for part in rows]

    def transposes(self, *rows: slice) -> list[Tensor]:
        """The same for the way back."""
        return [layout.transposed(self.arrays["weight_hh"][part], self.frames.last) for part in rows]

    def convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        """U*x."""
        return layout.convolve(x, weight, self.plan.hh, self.frames.last)

    def back(self, grad: Tensor, weight: Tensor) -> Tensor:
        """The gradient with respect to what U read."""
        return layout.convolve(grad, weight, self.plan.back, self.frames.last)

    def rows(self, start: int, stop: int) -> slice:
        """The rows of some gates in the weights, which are their channels."""
        return slice(start * self.plan.hidden, stop * self.plan.hidden)


class GRUBefore(Cell):
    """A GRU with the reset gate before: two convolutions and two kernels a step, each way."""

    widths = (2, 1)

    def forward(self) -> None:
        """Get ready for steps."""
        self.rz, self.n = self.weights(self.rows(0, 2), self.rows(2, 3))

    def step(self, now: Now) -> None:
        """One step forward."""
        (h,), reset = now.parts, torch.empty_like(now.read)
        u = self.convolve(now.read, self.rz)
        self.pointwise.gru_reset(self.frames, now.a, u, self.bias, h, now.invalid, reset)
        u = self.convolve(reset, self.n)
        self.pointwise.gru_blend(self.frames, now.a, u, self.bias, h, now.new[0], now.low)

    def backward(self) -> None:
        """Get ready for steps back."""
        self.rz_back, self.n_back = self.transposes(self.rows(0, 2), self.rows(2, 3))

    def step_back(self, then: Then, carry: list[Tensor | None], conv: Tensor | None) -> Tensor:
        """One step back: ``carry`` changes; the rest of the gradient of h before is returned."""
        (h,), (rz, dn), p = then.before, then.grads, self.pointwise
        p.gru_blend_back(self.frames, then.given, carry[0], conv, then.gates, h, then.invalid, rz, dn)
        p.gru_reset_back(self.frames, self.back(dn, self.n_back), then.gates, h, rz, carry[0])
        return self.back(rz, self.rz_back)

    def finish(self, sums: Sums, x: Tensor, read: Tensor, gates: Tensor, grads: Sequence[Tensor]) -> None:
        """Add the gradients of the weights from those of the pre-activations of many frames."""
        (rz, dn), first, last = grads, self.rows(0, 2), self.rows(2, 3)
        sums.input(rz, x, first)
        sums.input(dn, x, last)
        sums.state(rz, read, first)
        if sums.wanted:
            reset = torch.mul(gates[:, first.start : self.plan.hidden], read, out=torch.empty_like(read))
            sums.state(dn, reset, last)


class GRUAfter(Cell):
    """A GRU with the reset gate after: one convolution and one kernel a step, each way."""

    holds = True
    widths = (3, 3)

    def forward(self) -> None:
        """Get ready for steps."""
        (self.hh,) = self.weights(self.rows(0, 3))
        self.bias_hn = self.vector("bias_hn")

    def step(self, now: Now) -> None:
        """One step forward."""
        u = self.convolve(now.read, self.hh)
        self.pointwise.gru_after(
            self.frames, now.a, u, self.bias, self.bias_hn, now.parts[0], now.invalid, now.held, now.new[0], now.low
        )

    def backward(self) -> None:
        """Get ready for steps back."""
        (self.hh_back,) = self.transposes(self.rows(0, 3))

    def step_back(self, then: Then, carry: list[Tensor | None], conv: Tensor | None) -> Tensor:
        """One step back: ``carry`` changes; the rest of the gradient of h before is returned."""
        (h,), (gx, gh) = then.before, then.grads
        self.pointwise.gru_after_back(
            self.frames, then.given, carry[0], conv, then.gates, then.held, h, then.invalid, gx, gh
        )
        return self.back(gh, self.hh_back)

    def finish(self, sums: Sums, x: Tensor, read: Tensor, gates: Tensor, grads: Sequence[Tensor]) -> None:
        """Add the gradients of the weights from those of the pre-activations of many frames."""
        gx, gh = grads
        sums.input(gx, x, self.rows(0, 3))
        sums.state(gh, read, self.rows(0, 3))
        sums.vector("bias_hn", gh[:, self.rows(2, 3)])


class LSTM(Cell):
    """An LSTM: one convolution and one kernel a step, each way."""

    widths = (4,)

    def __init__(self, plan: Plan, arrays: Arrays, frames: Frames, pointwise: Any) -> None:
        super().__init__(plan, arrays, frames, pointwise)
        self.peep: list[Tensor] | None = None
        if plan.cell.peephole is not None:
            found = [arrays[name] for name in ("peephole_i", "peephole_f", "peephole_o")]
            self.peep = [layout.arranged(a[None], frames.last) for a in found]

    def forward(self) -> None:
        """Get ready for steps."""
        (self.hh,) = self.weights(self.rows(0, 4))

    def step(self, now: Now) -> None:
        """One step forward."""
        u = self.convolve(now.read, self.hh)
        self.pointwise.lstm(self.frames, now.a, u, self.bias, *now.parts, self.peep, now.invalid, *now.new, now.low)

    def backward(self) -> None:
        """Get ready for steps back."""
        (self.hh_back,) = self.transposes(self.rows(0, 4))

    def step_back(self, then: Then, carry: list[Tensor | None], conv: Tensor | None) -> Tensor:
        """One step back: ``carry`` changes; the rest of the gradient of h before is returned."""
        (_, c), (_, new), (gates,) = then.before, then.after, then.grads
        self.pointwise.lstm_back(
            self.frames, then.given, carry[0], conv, carry[1], then.gates, c, new, self.peep, then.invalid, gates
        )
        if then.invalid is None:
            carry[0] = None
        return self.back(gates, self.hh_back)

    def finish(self, sums: Sums, x: Tensor, read: Tensor, gates: Tensor, grads: Sequence[Tensor]) -> None:
        """Add the gradients of the weights from those of the pre-activations of many frames."""
        sums.input(grads[0], x, self.rows(0, 4))
        sums.state(grads[0], read, self.rows(0, 4))

    def peepholes(self, sums: Sums, grads: Tensor, before: Tensor, after: Tensor) -> None:
        """Add the gradients of the peepholes, from c before and after each frame."""
        if self.peep is None or not sums.wanted:
            return
        for name, gate, seen in (("peephole_i", 0, before), ("peephole_f", 1, before), ("peephole_o", 3, after)):
            product = (grads[:, self.rows(gate, gate + 1)] * seen.to(self.frames.compute)).sum(0)
            sums.sums[name] += product.sum_to_size(sums.sums[name].shape)


class RNN(Cell):
    """An RNN: one convolution and one kernel a step, each way; it keeps its state alone."""

    widths = (1,)

    def forward(self) -> None:
        """Get ready for steps."""
        (self.hh,) = self.weights(self.rows(0, 1))

    def step(self, now: Now) -> None:
        """One step forward."""
        u = self.convolve(now.read, self.hh)
        self.pointwise.rnn(self.frames, now.a, u, self.bias, now.parts[0], now.invalid, now.new[0], now.low)

    def backward(self) -> None:
        """Get ready for steps back."""
        (self.hh_back,) = self.transposes(self.rows(0, 1))

    def step_back(self, then: Then, carry: list[Tensor | None], conv: Tensor | None) -> Tensor:
        """One step back: ``carry`` changes; the rest of the gradient of h before is returned."""
        (gate,) = then.grads
        self.pointwise.rnn_back(self.frames, then.given, carry[0], conv, then.after[0], then.invalid, gate)
        if then.invalid is None:
            carry[0] = None
        return self.back(gate, self.hh_back)

    def finish(self, sums: Sums, x: Tensor, read: Tensor, gates: Tensor, grads: Sequence[Tensor]) -> None:
        """Add the gradients of the weights from those of the pre-activations of many frames."""
        sums.input(grads[0], x, self.rows(0, 1))
        sums.state(grads[0], read, self.rows(0, 1))


def cell_of(plan: Plan) -> Any:
    """The class of a plan's cell."""
    if plan.cell.cell == "gru":
        return GRUAfter if plan.cell.reset == "after" else GRUBefore
    return {"lstm": LSTM, "rnn": RNN}[plan.cell.cell]
