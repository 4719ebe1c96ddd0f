"""Launches the Triton kernels: functions of the same arguments as those of ``plain``.

torch never traces them: in a compiled program the layer is one operator (``convgru::layer``), an
exported one holds the readable implementation.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from convgru_torch.accelerator import kernels, kernels_back
from convgru_torch.accelerator.frames import Frames

BLOCK = 1024
INT32 = (1 << 31) - 1
"""The largest offset that 32 bits hold; an LSTM has four gates for each element of its state."""
COMPUTE = {torch.float32: tl.float32, torch.float64: tl.float64}


def _launch(kernel: Any, frames: Frames, like: Tensor, tensors: Sequence[Any], numbers: str, **names: Any) -> None:
    """Launch a kernel over the elements of ``like``; ``numbers``: which sizes it takes."""
    count, inner = like.numel(), 1 if frames.last else frames.pixels
    sizes = {
        "count": count,
        "cols": frames.hidden * inner,
        "inner": inner,
        "hidden": frames.hidden,
        "sample": frames.hidden * frames.pixels,
    }
    programs = triton.cdiv(count, BLOCK)
    kernel[(programs,)](
        *tensors,
        *(sizes[name] for name in numbers.split()),
        COMPUTE=COMPUTE[frames.compute],
        BLOCK=BLOCK,
        WIDE=4 * programs * BLOCK > INT32,
        **names,
    )


def gru_reset(frames: Frames, a: Any, u: Any, bias: Any, h: Any, invalid: Any, rh: Any) -> None:
    """R and z of a GRU with the reset gate before."""
    tensors = (a, u, bias, h, invalid, rh)
    _launch(kernels.gru_reset, frames, h, tensors, "count cols inner hidden sample", OUTER=frames.outer)


def gru_blend(frames: Frames, a: Any, u: Any, bias: Any, h: Any, new: Any, low: Any) -> None:
    """N of a GRU with the reset gate before, and the new state."""
    tensors = (a, u, bias, h, new, low)
    _launch(kernels.gru_blend, frames, h, tensors, "count cols inner hidden", INNER=frames.inner)


def gru_after(
    frames: Frames, a: Any, u: Any, bias: Any, bias_hn: Any, h: Any, invalid: Any, held: Any, new: Any, low: Any
) -> None:
    """A whole step of a GRU with the reset gate after."""
    tensors, sizes = (a, u, bias, bias_hn, h, invalid, held, new, low), "count cols inner hidden sample"
    _launch(kernels.gru_after, frames, h, tensors, sizes, OUTER=frames.outer, INNER=frames.inner)


def _peephole_mode(frames: Frames, peep: Sequence[Tensor] | None) -> int:
    """0 without peepholes, 1 where they are of channels, 2 of whole images."""
    return 0 if peep is None else 1 if peep[0].numel() == frames.hidden else 2


def lstm(
    frames: Frames,
    a: Any,
    u: Any,
    bias: Any,
    h: Any,
    c: Any,
    peep: Any,
    invalid: Any,
    new_h: Any,
    new_c: Any,
    low: Any,
) -> None:
    """A whole step of an LSTM."""
    tensors = (a, u, bias, h, c, *(peep or (None,) * 3), invalid, new_h, new_c, low)
    names = {"PEEP": _peephole_mode(frames, peep), "OUTER": frames.outer, "INNER": frames.inner}
    _launch(kernels.lstm, frames, h, tensors, "count cols inner hidden sample", **names)


def rnn(frames: Frames, a: Any, u: Any, bias: Any, h: Any, invalid: Any, new: Any, low: Any) -> None:
    """A whole step of an RNN."""
    tensors = (a, u, bias, h, invalid, new, low)
    _launch(kernels.rnn, frames, h, tensors, "count cols inner hidden sample", INNER=frames.inner)


def gru_blend_back(
    frames: Frames, given: Any, carry: Any, conv: Any, a: Any, h: Any, invalid: Any, rz: Any, dn: Any
) -> None:
    """Of z and n of a GRU with the reset gate before."""
    names = {"OUTER": frames.outer, "INNER": frames.inner}
    tensors = (given, carry, conv, a, h, invalid, rz, dn)
    _launch(kernels_back.gru_blend_back, frames, h, tensors, "count cols sample", **names)


def gru_reset_back(frames: Frames, through: Any, a: Any, h: Any, rz: Any, carry: Any) -> None:
    """Of r of a GRU with the reset gate before."""
    tensors = (through, a, h, rz, carry)
    _launch(kernels_back.gru_reset_back, frames, h, tensors, "count cols", OUTER=frames.outer)


def gru_after_back(
    frames: Frames, given: Any, carry: Any, conv: Any, a: Any, held: Any, h: Any, invalid: Any, gx: Any, gh: Any
) -> None:
    """Of all gates of a GRU with the reset gate after."""
    names = {"OUTER": frames.outer, "INNER": frames.inner}
    tensors = (given, carry, conv, a, held, h, invalid, gx, gh)
    _launch(kernels_back.gru_after_back, frames, h, tensors, "count cols sample", **names)


def lstm_back(
    frames: Frames,
    given: Any,
    carry: Any,
    conv: Any,
    dc: Any,
    a: Any,
    c: Any,
    new_c: Any,
    peep: Any,
    invalid: Any,
    gates: Any,
) -> None:
    """Of all gates of an LSTM."""
    tensors = (given, carry, conv, dc, a, c, new_c, *(peep or (None,) * 3), invalid, gates)
    names = {"PEEP": _peephole_mode(frames, peep), "OUTER": frames.outer, "INNER": frames.inner}
    _launch(kernels_back.lstm_back, frames, c, tensors, "count cols inner sample", **names)


def rnn_back(frames: Frames, given: Any, carry: Any, conv: Any, y: Any, invalid: Any, gate: Any) -> None:
    """Of an RNN's pre-activation."""
    tensors = (given, carry, conv, y, invalid, gate)
    _launch(kernels_back.rnn_back, frames, y, tensors, "count cols sample", INNER=frames.inner)
