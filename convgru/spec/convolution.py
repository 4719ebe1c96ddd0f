"""The geometry of a convolution, defined once for every backend: padding, sizes, row order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Pads = tuple[tuple[int, int], ...]
Padding = str | Pads
"""``"same"``, ``"valid"``, ``"preserve"``, or one ``(low, high)`` pair per dimension."""

MODES = ("same", "valid", "preserve")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True)
class Convolution:
    """The geometry of one convolution: everything but its weights.

    ``gates`` is how many gates its output rows hold: ``groups`` divide each gate by itself, see
    ``row_order``.
    """

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    padding: Padding = "same"
    padding_mode: str = "zeros"
    gates: int = 1

    def pads(self, size: Sequence[int]) -> Pads:
        """Return the padding ``(low, high)`` of each dimension of an image of ``size``.

        ``same`` gives ⌈n/s⌉ outputs: max((⌈n/s⌉−1)·s + d·(k−1) + 1 − n, 0) in total. ``preserve``
        gives n outputs at any stride: (s−1)·(n−1) + d·(k−1) in total; of both, the smaller half
        comes first. ``valid`` adds nothing; explicit pairs are returned unchanged.
        """
        if not isinstance(self.padding, str):
            return self.padding
        return tuple(_halves(total) for total in self._totals(size))

    def _totals(self, size: Sequence[int]) -> list[int]:
        steps = list(zip(size, self.kernel_size, self.stride, self.dilation, strict=True))
        if self.padding == "same":
            # At stride 1 this is d·(k−1) whatever the size, so that a size that is not known yet
            # may stand here.
            return [
                d * (k - 1) if s == 1 else max(((n + s - 1) // s - 1) * s + d * (k - 1) + 1 - n, 0)
                for n, k, s, d in steps
            ]
        if self.padding == "preserve":
            return [d * (k - 1) if s == 1 else (s - 1) * (n - 1) + d * (k - 1) for n, k, s, d in steps]
        return [0 for _ in steps]

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of the output for an image of ``size``; below 1 where the image is too small."""
        steps = zip(size, self.pads(size), self.kernel_size, self.stride, self.dilation, strict=True)
        sizes = []
        for n, (low, high), k, s, d in steps:
            more = low + high - d * (k - 1)
            sizes.append(n + more if s == 1 else (n + more - 1) // s + 1)
        return tuple(sizes)

    def input_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of an image that gives an output of ``size``."""
        if self.padding == "preserve":
            return tuple(size)
        if self.padding == "same":
            return tuple(n * s for n, s in zip(size, self.stride, strict=True))
        steps = zip(size, self.pads(size), self.kernel_size, self.stride, self.dilation, strict=True)
        return tuple((n - 1) * s + d * (k - 1) + 1 - low - high for n, (low, high), k, s, d in steps)

    def check_pads(self, owner: str, size: Sequence[int]) -> None:
        """Raise ValueError where the padding mode cannot fill the pads of an image of ``size``.

        Reflection takes at most n − 1 pixels from inside the image, circular padding at most n.
        """
        if self.padding_mode in ("zeros", "replicate"):
            return
        for dimension, (n, pair) in enumerate(zip(size, self.pads(size), strict=True)):
            room = n - 1 if self.padding_mode == "reflect" else n
            if max(pair) > room:
                raise ValueError(
                    f"{owner} expected at least {max(pair) + n - room} pixels in spatial dimension {dimension} for "
                    f"{self.padding_mode} padding of {pair} (kernel {self.kernel_size}, stride {self.stride}, dilation {self.dilation}), got {n}"
                )

    def row_order(self, rows: int) -> tuple[int, ...]:
        """Order of the weight's rows, stored as (gates, groups, …), for a grouped convolution.

        A framework's grouped convolution gives its first group's inputs to the first rows: there
        the rows must stand as (groups, gates, …). So does its output: ``restore_order`` puts it
        back.
        """
        part = rows // (self.gates * self.groups)
        return tuple(
            (gate * self.groups + group) * part + row
            for group in range(self.groups)
            for gate in range(self.gates)
            for row in range(part)
        )

    def restore_order(self, rows: int) -> tuple[int, ...]:
        """The inverse of ``row_order``: where each row is in the grouped convolution's output."""
        order = self.row_order(rows)
        return tuple(sorted(range(rows), key=order.__getitem__))

    @property
    def reorders(self) -> bool:
        """Whether ``row_order`` changes anything."""
        return self.groups > 1 and self.gates > 1


def _halves(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2


def pool_matrix(n: int, m: int) -> tuple[tuple[float, ...], ...]:
    """Matrix (n, m) of adaptive average pooling from n pixels to m.

    Column i averages the inputs ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉ − 1.
    """
    spans = [(i * n // m, -((-(i + 1) * n) // m)) for i in range(m)]
    return tuple(tuple(1 / (stop - start) if start <= j < stop else 0.0 for start, stop in spans) for j in range(n))
