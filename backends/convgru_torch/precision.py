"""Report whether float32 runs in TF32, and turn TF32 off while numbers are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

BACKENDS: Any = torch.backends  # its type stubs lack fp32_precision
Switch = tuple[Callable[[], Any], Callable[[Any], Any], Any]


def _switches() -> list[Switch]:
    """Return (get, set, safe value) of each setting that costs precision or determinism.

    Torch has two generations of these settings, and refuses to read the older one where it
    contradicts the newer: so the older is set first, which changes the newer, and then the newer
    exactly.
    """
    cudnn, mkldnn = BACKENDS.cudnn, BACKENDS.mkldnn
    precisions = (cudnn.conv, cudnn.rnn, BACKENDS.cuda.matmul, mkldnn.conv, mkldnn.matmul)
    attributes = [
        (cudnn, "allow_tf32", False),
        *((holder, "fp32_precision", "ieee") for holder in precisions),
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
    ]
    matmul: Switch = (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")
    return [
        matmul,
        *((partial(getattr, holder, name), partial(setattr, holder, name), safe) for holder, name, safe in attributes),
    ]


@contextmanager
def precise() -> Iterator[None]:
    """Disable TF32 in cuDNN, cuBLAS and oneDNN, make cuDNN deterministic; restore on exit.

    Example:
        >>> with precise():
        ...     y, state = net(x)
    """
    before: list[tuple[Switch, Any]] = []
    for switch in _switches():
        try:
            before.append((switch, switch[0]()))
        except RuntimeError:  # an older setting where the user has set only the newer one: left as it is
            continue
    try:
        for (_, put, safe), _ in before:
            put(safe)
        yield
    finally:
        for (_, put, _), value in before:
            put(value)


def tf32() -> dict[str, bool]:
    """Return whether float32 convolutions and matrix products on CUDA may run in TF32 now."""
    holders = {"convolutions": BACKENDS.cudnn.conv, "matrix products": BACKENDS.cuda.matmul}
    return {name: holder.fp32_precision == "tf32" for name, holder in holders.items()}
