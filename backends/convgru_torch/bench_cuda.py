"""What ``convgru bench --device cuda`` needs: precision, times by events, peaks, a roof."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

FLUSHED = 256 << 20
"""Bytes that are written before each call, more than any GPU's L2 cache holds."""
ROOF = 8192
"""Rows and columns of the matrices whose product is the roof."""
Call = Callable[[], Any]


class Place(NamedTuple):
    """Where a contest computes, and in which dtype.

    Attributes:
        device: ``cpu`` or a CUDA device.
        dtype: of weights, input and state.
    """

    device: str
    dtype: torch.dtype

    @property
    def on_gpu(self) -> bool:
        """Whether it is a CUDA device."""
        return self.device != "cpu"

    def put(self, tensor: Tensor) -> Tensor:
        """A tensor there."""
        return tensor.to(self.device, self.dtype)

    def random(self, *shape: int) -> Tensor:
        """Random numbers, drawn there: a CPU takes seconds for those of a large image."""
        return torch.randn(shape, device=self.device, dtype=self.dtype)


def place(device: str, precision: str) -> Place:
    """Set torch up for a precision, and say where to compute.

    Raises ValueError for a device that torch does not see.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"torch {torch.__version__} sees no CUDA device")
    backends: Any = torch.backends
    for holder in (backends.cudnn.conv, backends.cuda.matmul):
        holder.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    backends.cudnn.benchmark = True  # the fastest algorithm of each convolution, for every contestant
    return Place(device, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def sampler(cuda: Any = torch.cuda) -> Callable[[Call, int], float]:
    """Make a function that times calls by CUDA events: the median of several, in seconds.

    Before each the L2 cache is filled with other numbers, and the GPU is waited for: so what the
    launches take counts wherever the GPU waits for them, as it does in a program of its own.
    """
    other = torch.empty(FLUSHED, dtype=torch.uint8, device="cuda" if cuda is torch.cuda else "cpu")

    def sample(call: Call, repeats: int) -> float:
        milliseconds: list[float] = []
        for _ in range(min(repeats, 50)):
            other.zero_()
            cuda.synchronize()
            begin, end = (cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            call()
            end.record()
            cuda.synchronize()
            milliseconds.append(begin.elapsed_time(end))
        return float(median(milliseconds)) / 1e3

    return sample


def peak(calls: dict[str, Call | None], cuda: Any = torch.cuda) -> Callable[[str], int]:
    """Make a function from a measure to the bytes that its call needs at most beyond what lives."""

    def measured(measure: str) -> int:
        call = calls[measure]
        assert call is not None
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        call()
        cuda.synchronize()
        return int(cuda.max_memory_allocated()) - int(before)

    return measured


def facts(where: Place) -> dict[str, str]:
    """What the report says of a GPU beside versions: its name, the rate of a matrix product."""
    if not where.on_gpu:
        return {}
    a, b = (where.random(ROOF, ROOF) for _ in range(2))
    rate = 2 * ROOF**3 / sampler()(lambda: a @ b, 10) / 1e12
    return {"gpu": torch.cuda.get_device_name(where.device), "TFLOP/s of a matrix product": f"{rate:.1f}"}
