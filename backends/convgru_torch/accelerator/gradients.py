"""Gradients of weights and input on an accelerator, of many frames at once."""

from __future__ import annotations

import torch
from torch import Tensor

from convgru_torch.accelerator.frames import Frames, arranged
from convgru_torch.convolution import Form
from convgru_torch.sequence_ops import input_gradient, weight_gradient
from convgru_torch.sequence_plan import Arrays, Plan


class Sums:
    """Sums of the gradients of a layer's parameters, in the dtype of the arithmetic, and of x.

    Args:
        wanted: whether the parameters' gradients are wanted; ``input_wanted``: that of x.
    """

    def __init__(self, plan: Plan, arrays: Arrays, frames: Frames, wanted: bool, input_wanted: bool) -> None:
        self.plan, self.arrays, self.frames = plan, arrays, frames
        self.wanted, self.input_wanted = wanted, input_wanted
        self.sums: dict[str, Tensor] = {}
        if wanted:
            self.sums = {name: torch.zeros_like(a, dtype=frames.compute) for name, a in arrays.items()}
        self.dx: Tensor | None = None

    def input(self, grad: Tensor, x: Tensor, rows: slice) -> None:
        """From the gradient of gates (N, K, *S) of which W*x, of frames x, is a term."""
        weight = arranged(self.arrays["weight_ih"][rows], self.frames.last)
        if self.wanted:
            self._weight("weight_ih", grad, x, weight, self.plan.ih, rows)
            self.vector("bias", grad, rows)
        if self.input_wanted:
            part = input_gradient(grad, x, weight, self.plan.ih)
            self.dx = part if self.dx is None else self.dx.add_(part)

    def state(self, grad: Tensor, read: Tensor, rows: slice) -> None:
        """The same of U and what it read."""
        if self.wanted:
            weight = arranged(self.arrays["weight_hh"][rows], self.frames.last)
            self._weight("weight_hh", grad, read, weight, self.plan.hh, rows)

    def vector(self, name: str, grad: Tensor, rows: slice | None = None) -> None:
        """The same of a bias, if there is one."""
        if name in self.sums:
            total = grad.sum((0, *range(2, grad.ndim)), dtype=self.frames.compute)
            self.sums[name][slice(None) if rows is None else rows] += total

    def _weight(self, name: str, grad: Tensor, x: Tensor, weight: Tensor, how: Form, rows: slice) -> None:
        dw, _ = weight_gradient(grad, x, weight, how, False)
        self.sums[name][rows] += dw
