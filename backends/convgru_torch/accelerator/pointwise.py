"""The choice of the pointwise functions: Triton's kernels, or torch's operations."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from convgru_torch.accelerator import plain, plain_back
from convgru_torch.accelerator.frames import Frames

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


_found: dict[str, str | None] = {}
"""What was found on each kind of device: why Triton does not work there, or None."""


def _why_not_here(device: str) -> str | None:
    """Why Triton does not compile and launch a kernel on this machine: tried once.

    Not while a CUDA graph is recorded, which waiting for the kernel would break, and not for good
    where memory was short: then it is tried again.
    """
    if device not in _found:
        if device == "cuda" and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return "a CUDA graph is being recorded, and Triton was not tried before"
        try:
            _found[device] = _tried(device)
        except torch.OutOfMemoryError as error:
            return f"there was no memory to try Triton ({str(error)[:200]})"
    return _found[device]


def _tried(device: str) -> str | None:
    """Why Triton does not compile and launch one kernel, or with wrong numbers; None if it does.

    It needs a C compiler, and a GPU that is not too old.

    Raises torch.OutOfMemoryError.
    """
    found = launchers()
    if isinstance(found, str):
        return found
    if device == "cuda" and not torch.cuda.is_available():
        return "there is no CUDA device here"
    frames = Frames(2, 3, False, "sigmoid", "tanh", torch.float32)
    try:
        a = torch.linspace(-2, 2, 6, device=device).view(1, 2, 1, 3)
        want, got = torch.empty_like(a), torch.empty_like(a)
        plain.rnn(frames, a, a, None, a, None, want, None)
        found.rnn(frames, a, a, None, a, None, got, None)
        return None if torch.allclose(got, want, rtol=1e-5, atol=1e-6) else "Triton's kernels give wrong numbers here"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler, a driver or a linker may raise
        return f"Triton does not work here ({type(error).__name__}: {str(error)[:200]})"


def interpreted() -> bool:
    """Whether Triton interprets its kernels, which then take tensors of any device."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def why_not_triton(device: str) -> str | None:
    """Return the reason why no kernels of Triton run on a device, or None."""
    if device != "cuda" and not interpreted():
        return f"Triton's kernels do not run on {device!r}"
    return _why_not_here(device)


def functions(x: Tensor) -> Any:
    """The functions for tensors on the device of ``x``."""
    return Plain if why_not_triton(x.device.type) is not None else launchers()


def forget() -> None:
    """Forget what was found here, so that it is looked for again."""
    launchers.cache_clear()
    _found.clear()
