"""The workloads: networks and sizes that are timed, and how they shrink to fit a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

from convgru.spec import NetworkSpec, network

LEAST_TIME, LEAST_SIZE = 4, 8
"""Below these a smaller scale takes neither frames nor pixels away."""


@dataclass(frozen=True)
class Workload:
    """A network and the size of its input.

    Attributes:
        name: what it is chosen by.
        what: what it stands for, in a few words.
        batch: samples B.
        time: frames T.
        in_channels: channels of a frame.
        hidden: channels of each layer's state.
        kernels: kernel size of each layer, the same on every axis.
        size: pixels on each axis.
        cells: the cells that it is timed with.
        streaming: one frame a call, the state carried over; forward only, times are per frame.
        state: whether the initial state is random numbers rather than absent.
    """

    name: str
    what: str
    batch: int
    time: int
    in_channels: int
    hidden: tuple[int, ...]
    kernels: tuple[int, ...]
    size: tuple[int, ...]
    cells: tuple[str, ...] = ("gru", "lstm")
    streaming: bool = False
    state: bool = False

    def spec(self, cell: str) -> NetworkSpec:
        """Return the network of these layers with one kind of cell."""
        return network(cell, self.in_channels, [*self.hidden], [*self.kernels], ndim=len(self.size))

    @property
    def work(self) -> int:
        """Multiply-adds of the convolutions of the forward pass with a GRU."""
        inputs = (self.in_channels, *self.hidden)
        layers = zip(inputs, self.hidden, self.kernels, strict=False)
        per_pixel = sum((c + h) * 3 * h * prod([k] * len(self.size)) for c, h, k in layers)
        return per_pixel * prod(self.size) * self.batch * self.time

    def within(self, work: float) -> Workload:
        """Shrink until the work is about this at most: first batch, then frames, then image.

        Frames do not go below 4, nor pixels below 8 on an axis, unless there are fewer already.
        """
        excess = self.work / work
        if excess <= 1:
            return self
        batch = max(1, int(self.batch / excess))
        excess = max(1.0, excess * batch / self.batch)
        time = max(min(LEAST_TIME, self.time), int(self.time / excess))
        excess = max(1.0, excess * time / self.time)
        shrink = excess ** (1 / len(self.size))
        return replace(
            self, batch=batch, time=time, size=tuple(max(min(LEAST_SIZE, n), int(n / shrink)) for n in self.size)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the sizes as JSON has them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> Workload:
        """Make a workload of what ``to_json`` returned."""
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in text.items()}
        return cls(**values)

    @property
    def sizes(self) -> str:
        """Batch, frames, channels and pixels in one line."""
        channels = " → ".join(map(str, (self.in_channels, *self.hidden)))
        kernels = ", ".join(map(str, self.kernels if len(set(self.kernels)) > 1 else self.kernels[:1]))
        pixels = " x ".join(map(str, self.size))
        return f"B {self.batch}, T {self.time}, channels {channels}, kernel {kernels}, {pixels}"


WORKLOADS: dict[str, Workload] = {
    each.name: each
    for each in (
        Workload("W1", "three layers, mixed kernels", 4, 10, 8, (32, 64, 16), (3, 5, 3), (64, 64)),
        Workload("W2", "two wide layers, long sequences", 8, 20, 1, (64, 64), (3, 3), (64, 64)),
        Workload("W3", "large images", 1, 12, 1, (64,), (5,), (256, 256)),
        Workload("W4", "volumes", 2, 6, 2, (8, 8), (3, 3), (10, 14, 18)),
        Workload("S1", "small images", 1, 16, 8, (16,), (3,), (32, 32)),
        Workload("R", "one step, as RAFT has it", 1, 1, 256, (128,), (3,), (55, 128), ("gru",), state=True),
        Workload("L", "streaming: one frame a call", 1, 16, 1, (32,), (3,), (64, 64), streaming=True),
    )
}
"""What is timed, by name."""


def scaled(names: Sequence[str], scale: float) -> dict[str, Workload]:
    """Return workloads by name, none of them with more work than ``scale`` times the largest's.

    Raises ValueError for a scale that is not above 0 and at most 1, and for an unknown name.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"bench scale expected a number above 0 and at most 1, got {scale!r}")
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown or not names:
        raise ValueError(f"bench workloads expected some of {', '.join(WORKLOADS)}, got {', '.join(unknown) or 'none'}")
    largest = max(workload.work for workload in WORKLOADS.values())
    return {name: WORKLOADS[name].within(scale * largest) for name in names}
