"""Accelerators' code paths on CPU tensors, with torch's operations or Triton's interpreter."""

import importlib.util
import sys
from contextlib import contextmanager

import pytest

from convgru_torch import accelerator, sequence_plan
from convgru_torch.accelerator import pointwise

KERNELS = ("launch", "kernels", "kernels_back")
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def force(monkeypatch, last):
    """Run tensors on the CPU as those on an accelerator, with channels last or not, in chunks."""
    monkeypatch.setattr(sequence_plan, "FORCED", True)
    monkeypatch.setattr(sequence_plan, "channels_last", lambda dtype: last)
    monkeypatch.setattr(sequence_plan, "CHUNK_ACCELERATOR", 4096)


@contextmanager
def interpreted(monkeypatch):
    """Triton's kernels run, interpreted: it is decided when they are imported. Yields launchers."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    kept = _forget_kernels()
    assert pointwise.why_not_triton("cpu") is None
    yield pointwise.launchers()
    _forget_kernels()
    for name, module in kept.items():
        sys.modules[f"{accelerator.__name__}.{name}"] = module
        setattr(accelerator, name, module)


def _forget_kernels():
    """Have them imported anew, by the next one who asks; return what was imported."""
    pointwise.forget()
    modules = {name: sys.modules.pop(f"{accelerator.__name__}.{name}", None) for name in KERNELS}
    for name in KERNELS:
        accelerator.__dict__.pop(name, None)
    return {name: module for name, module in modules.items() if module is not None}
