"""How many zeros each padding mode adds on each side: one function for every backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Pads = tuple[tuple[int, int], ...]
Padding = str | Pads
"""``"same"``, ``"valid"``, or one ``(low, high)`` pair for each spatial dimension."""

MODES = ("same", "valid")


def pads(padding: Padding, kernel_size: Sequence[int], dilation: Sequence[int]) -> Pads:
    """The zeros ``(low, high)`` added to each spatial dimension before a convolution of stride 1.

    ``same`` adds d·(k−1) in total, the smaller half first, so that the size is kept for even kernels too;
    ``valid`` adds none; explicit pairs are taken as they are.
    """
    if padding == "valid":
        return tuple((0, 0) for _ in kernel_size)
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(f"padding expected one of {MODES} or (low, high) pairs, got {padding!r}")
    return padding


@dataclass(frozen=True)
class Convolution:
    """The geometry of one convolution of stride 1: everything but its weights."""

    kernel_size: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Padding

    @property
    def pads(self) -> Pads:
        """Zeros ``(low, high)`` to add to each spatial dimension."""
        return pads(self.padding, self.kernel_size, self.dilation)

    @property
    def growth(self) -> tuple[int, ...]:
        """Output size minus input size, for each spatial dimension."""
        steps = zip(self.pads, self.kernel_size, self.dilation, strict=True)
        return tuple(low + high - d * (k - 1) for (low, high), k, d in steps)
