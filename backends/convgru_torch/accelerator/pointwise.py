"""The choice of the pointwise functions: Triton's kernels, or torch's operations."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import Tensor

from convgru_torch.accelerator import plain, plain_back

NAMES = ("gru_reset", "gru_blend", "gru_after", "lstm", "rnn")
NAMES_BACK = ("gru_blend_back", "gru_reset_back", "gru_after_back", "lstm_back", "rnn_back")


class Plain:
    """torch's operations."""


for _module, _names in ((plain, NAMES), (plain_back, NAMES_BACK)):
    for _name in _names:
        setattr(Plain, _name, staticmethod(getattr(_module, _name)))


@lru_cache
def launchers() -> ModuleType | str:
    """The module that launches Triton's kernels, or the reason why it is not there."""
    try:
        return import_module("convgru_torch.accelerator.launch")
    except ImportError as reason:
        return f"Triton is not installed ({reason})"


def interpreted() -> bool:
    """Whether Triton interprets its kernels, which then take tensors of any device."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def why_not_triton(device: str) -> str | None:
    """Return the reason why no kernels of Triton run on a device, or None."""
    if device != "cuda" and not interpreted():
        return f"Triton's kernels do not run on {device!r}"
    found = launchers()
    return found if isinstance(found, str) else None


def functions(x: Tensor) -> Any:
    """The functions for tensors on the device of ``x``."""
    return Plain if why_not_triton(x.device.type) is not None else launchers()
