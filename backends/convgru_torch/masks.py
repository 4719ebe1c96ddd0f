"""Dropout, recurrent dropout and zoneout: masks handed in, or drawn from torch's generator."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from convgru import equations
from convgru.spec import NetworkSpec


class Masks:
    """The masks of one call of one network, by the names of ``convgru.spec.shapes.mask_shapes``.

    ``given`` are taken as they are; without them ``training`` draws, and evaluation has no dropout, and zoneout's mean.
    """

    def __init__(self, spec: NetworkSpec, given: Mapping[str, Tensor] | None = None, training: bool = False) -> None:
        self.spec = spec
        self.given = given
        self.drawing = training and given is None
        self.drawn: dict[int, Tensor] = {}

    def dropout(self, name: str, y: Tensor) -> Tensor:
        """What the layer above reads of y (T, B, C, *S)."""
        if self.given is not None:
            return y * self.given[name] if name in self.given else y
        return F.dropout(y, self.spec.dropout) if self.drawing and self.spec.dropout else y

    def recurrent(self, entry: int, h: Tensor) -> Tensor | None:
        """What multiplies h where it enters U: one mask for all the steps of a call."""
        if self.given is not None:
            return self.given.get(f"recurrent.{entry}")
        if not (self.drawing and self.spec.recurrent_dropout):
            return None
        if entry not in self.drawn:
            self.drawn[entry] = F.dropout(torch.ones_like(h), self.spec.recurrent_dropout)
        return self.drawn[entry]

    def zoneout(self, entry: int, t: int, old: tuple[Tensor, ...], new: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The new state, with what zoneout keeps of the old one."""
        p = self.spec.zoneout
        if not p:
            return new
        if self.given is not None:
            names = self.spec.layers[0].state_names
            return equations.zoneout([self.given[f"zoneout.{entry}.{name}"][t] for name in names], old, new)
        if self.drawing:
            kept = [torch.bernoulli(torch.full_like(h, p, dtype=torch.float32)).to(h.dtype) for h in new]
            return equations.zoneout(kept, old, new)
        return equations.zoneout([p] * len(new), old, new)
