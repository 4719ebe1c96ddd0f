"""What float32 means on a GPU: reporting TF32, and turning it off for as long as numbers are compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

BACKENDS: Any = torch.backends  # whose stubs know nothing of fp32_precision


def _switches() -> list[tuple[Any, str, Any]]:
    """Each setting that lets float32 be less, or kernels differ from run to run: its holder, its name, the safe value."""
    cudnn, mkldnn = BACKENDS.cudnn, BACKENDS.mkldnn
    precisions = (cudnn.conv, cudnn.rnn, BACKENDS.cuda.matmul, mkldnn.conv, mkldnn.matmul)
    return [
        *((holder, "fp32_precision", "ieee") for holder in precisions),
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
    ]


@contextmanager
def precise() -> Iterator[None]:
    """Float32 means float32: TF32 off in cuDNN, cuBLAS and oneDNN, cuDNN deterministic; all put back after."""
    before = [(holder, name, getattr(holder, name)) for holder, name, _ in _switches()]
    try:
        for holder, name, value in _switches():
            setattr(holder, name, value)
        yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)


def tf32() -> dict[str, bool]:
    """Whether float32 convolutions and matrix products on CUDA may run in TF32 now."""
    holders = {"convolutions": BACKENDS.cudnn.conv, "matrix products": BACKENDS.cuda.matmul}
    return {name: holder.fp32_precision == "tf32" for name, holder in holders.items()}
