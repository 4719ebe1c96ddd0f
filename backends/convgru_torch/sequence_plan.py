"""What the fast sequence function does in a call, worked out once for a spec, sizes and a dtype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from convgru.spec import CellSpec
from convgru_torch.convolution import Form, form
from convgru_torch.plans import planned
from convgru_torch.precision import tf32
from convgru_torch.sequence_ops import may_fuse, transposed_form

FORCED = False
"""Whether tensors on a CPU are treated as those on an accelerator are: for tests."""

NARROW = 16
"""Up to this many hidden channels gates that are computed together share a tensor; more make
strided views of it cost more than another convolution.
"""
CHUNK = 1 << 20
"""Bytes of the gates of the frames that are taken back together on a CPU, whose cache they fit."""
CHUNK_ACCELERATOR = 1 << 28
"""The same on an accelerator: enough to keep all of it busy, and little of its memory."""
Arrays = Mapping[str, Tensor]


@dataclass(frozen=True)
class Block:
    """Gates that one convolution computes.

    Attributes:
        gates: their letters, in the order of their channels.
        rows: the rows of the weights, as (start, stop) pairs.
        activation: the one of all of them; None where others are needed, or something comes first.
    """

    gates: str
    rows: tuple[tuple[int, int], ...]
    activation: str | None

    def take(self, array: Tensor) -> Tensor:
        """The rows of a weight or a bias."""
        parts = [array[start:stop] for start, stop in self.rows]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True)
class Plan:
    """One layer in one direction over a sequence.

    Attributes:
        cell: the layer, of two dimensions where it has one.
        time, batch, size, state_size: of the call.
        dtype: of all tensors.
        reverse: whether it reads the sequence from its end.
        lean: whether the gates are computed again for the gradient instead of being kept.
        fuse: whether oneDNN's operators may be used.
        ih, hh, back: the convolutions of the input, of the state, and of a gradient with respect
            to the state.
        state_dtype: of the state.
        accelerator: whether ``convgru_torch.accelerator`` runs it.
        last: whether it holds tensors with channels last in memory.
    """

    cell: CellSpec
    time: int
    batch: int
    size: tuple[int, ...]
    state_size: tuple[int, ...]
    dtype: torch.dtype
    reverse: bool
    lean: bool
    fuse: bool
    ih: Form
    hh: Form
    back: Form
    state_dtype: torch.dtype
    accelerator: bool = False
    last: bool = True

    @cached_property
    def hidden(self) -> int:
        """Channels of the state."""
        return self.cell.hidden_channels

    @cached_property
    def joined(self) -> bool:
        """Whether one convolution reads input and state together."""
        return self.ih == self.hh and self.size == self.state_size and self.cell.reset != "after"

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The convolutions of a step."""
        cell, hidden = self.cell, self.hidden
        outer, inner = cell.recurrent_activation, cell.activation
        rows = [(gate * hidden, (gate + 1) * hidden) for gate in range(cell.gates)]
        if cell.cell == "rnn":
            return (Block("h", (rows[0],), inner),)
        if cell.cell == "gru":
            last = Block("n", (rows[2],), None if cell.reset == "after" else inner)
            if hidden <= NARROW:
                return Block("rz", ((0, 2 * hidden),), outer), last
            return Block("r", (rows[0],), outer), Block("z", (rows[1],), outer), last
        if cell.peephole is not None or hidden <= NARROW:
            return (Block("ifgo", ((0, 4 * hidden),), None),)
        names = zip("ifgo", rows, strict=True)
        return tuple(Block(gate, (row,), inner if gate == "g" else outer) for gate, row in names)

    @property
    def chunk(self) -> int:
        """How many frames are taken back together, and how many share an input convolution."""
        frame = self.batch * self.cell.gates * self.hidden * prod(self.state_size) * self.dtype.itemsize
        return max(1, min(self.time, (CHUNK_ACCELERATOR if self.accelerator else CHUNK) // max(1, frame)))

    @cached_property
    def times(self) -> range:
        """The frames in reading order."""
        return range(self.time - 1, -1, -1) if self.reverse else range(self.time)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The chunks (start, stop) in reading order."""
        starts = range(0, self.time, self.chunk)
        spans = tuple((start, min(start + self.chunk, self.time)) for start in starts)
        return spans[::-1] if self.reverse else spans

    def within(self, start: int, stop: int) -> range:
        """The frames of a chunk in reading order."""
        return range(stop - 1, start - 1, -1) if self.reverse else range(start, stop)


def flat(cell: CellSpec) -> CellSpec:
    """A cell of one dimension as one of two, whose first has one pixel; others as they are."""
    if cell.ndim != 1:
        return cell
    pads = cell.padding if isinstance(cell.padding, str) else ((0, 0), *cell.padding)
    tuples = ("kernel_size", "recurrent_kernel_size", "stride", "recurrent_stride", "dilation", "recurrent_dilation")
    sizes = None if cell.state_size is None else (1, *cell.state_size)
    wider: dict[str, Any] = {name: (1, *getattr(cell, name)) for name in tuples}
    return replace(cell, ndim=2, padding=pads, state_size=sizes, **wider)


@planned
def plan_of(
    cell: CellSpec,
    frames: tuple[int, ...],
    dtype: torch.dtype,
    reverse: bool,
    lean: bool,
    fuse: bool,
    state_dtype: torch.dtype,
    accelerator: bool = False,
    last: bool = True,
) -> Plan:
    """Plan a call with an input of shape ``frames``, (T, B, C, *S), as the cell has its size."""
    cell, size = flat(cell), frames[3:] if cell.ndim > 1 else (1, *frames[3:])
    state_size = cell.input_convolution.output_size(size)
    recurrent = cell.recurrent_convolution(1)
    return Plan(
        cell,
        frames[0],
        frames[1],
        size,
        state_size,
        dtype,
        reverse,
        lean,
        fuse,
        form(cell.input_convolution, size),
        form(recurrent, state_size),
        transposed_form(recurrent, state_size),
        state_dtype,
        accelerator,
        last,
    )


def on_accelerator(x: Tensor) -> bool:
    """Whether ``convgru_torch.accelerator`` runs a call with this input."""
    return x.device.type == "cuda" or FORCED


def channels_last(dtype: torch.dtype) -> bool:
    """Whether an accelerator's convolutions are faster with channels last in memory.

    Those of tensor cores are, which take no float64, and float32 only as TF32.
    """
    return dtype.itemsize == 2 or (dtype == torch.float32 and tf32()["convolutions"])


def plan_for(cell: CellSpec, x: Tensor, state: Tensor, reverse: bool, lean: bool) -> Plan:
    """Plan a call with this input and state."""
    shape = tuple(x.shape)
    if on_accelerator(x):
        return plan_of(cell, shape, x.dtype, reverse, lean, False, state.dtype, True, channels_last(x.dtype))
    return plan_of(cell, shape, x.dtype, reverse, lean, may_fuse(x.dtype), x.dtype)
