"""What float32 means on a device: reporting TF32, and turning it off for as long as numbers are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

BACKENDS: Any = torch.backends  # whose stubs know nothing of fp32_precision
Switch = tuple[Callable[[], Any], Callable[[Any], Any], Any]


def _switches() -> list[Switch]:
    """Each setting that lets float32 be less, or kernels differ from run to run: how to read it, to set it, the safe value.

    Torch has two generations of these, and refuses to answer the older one where it contradicts the newer: so the older
    is set first, which moves the newer, and then the newer exactly.
    """
    cudnn, mkldnn = BACKENDS.cudnn, BACKENDS.mkldnn
    precisions = (cudnn.conv, cudnn.rnn, BACKENDS.cuda.matmul, mkldnn.conv, mkldnn.matmul)
    attributes = [
        (cudnn, "allow_tf32", False),
        *((holder, "fp32_precision", "ieee") for holder in precisions),
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
    ]
    found: list[Switch] = [(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")]
    found += [
        (partial(getattr, holder, name), partial(setattr, holder, name), safe) for holder, name, safe in attributes
    ]
    return found


@contextmanager
def precise() -> Iterator[None]:
    """Float32 means float32: TF32 off in cuDNN, cuBLAS and oneDNN, cuDNN deterministic; all put back after.

    Example:
        >>> with precise():
        ...     y, state = net(x)
    """
    before: list[tuple[Switch, Any]] = []
    for switch in _switches():
        try:
            before.append((switch, switch[0]()))
        except RuntimeError:  # the older setting, where a user has set only the newer: it stays as it is
            continue
    try:
        for (_, put, safe), _ in before:
            put(safe)
        yield
    finally:
        for (_, put, _), value in before:
            put(value)


def tf32() -> dict[str, bool]:
    """Whether float32 convolutions and matrix products on CUDA may run in TF32 now."""
    holders = {"convolutions": BACKENDS.cudnn.conv, "matrix products": BACKENDS.cuda.matmul}
    return {name: holder.fp32_precision == "tf32" for name, holder in holders.items()}
