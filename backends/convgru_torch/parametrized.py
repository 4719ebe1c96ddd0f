"""Weights that something else computes: hooks of torch.nn.utils, and parametrizations that training changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def compute_hooked_weights(net: nn.Module) -> None:
    """Run the hooks of torch.nn.utils.weight_norm, spectral_norm and prune on every module of ``net``.

    They compute a weight when their module is called, so that it is out of date after an optimiser's
    step, and in a module that only holds parameters always.
    """
    for module in net.modules():
        for hook in module._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils"):
                hook(module, ())


@contextmanager
def evaluation(net: nn.Module) -> Iterator[None]:
    """Set every module of ``net`` to evaluation and put each back: in training spectral_norm changes with each look."""
    modes = {module: module.training for module in net.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
