"""Compute weights now that hooks or parametrizations of torch.nn.utils compute in each call.

Its partner ``convgru.formats.parametrized`` computes them from a state dict, without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def compute_hooked_weights(net: nn.Module, called: nn.Module | None = None) -> None:
    """Run the hooks of torch.nn.utils.weight_norm, spectral_norm and prune on all modules.

    They compute a weight when their module is called: after an optimiser's step it is out of date,
    and in a module that only holds parameters it is always. ``called`` is a module whose call this
    is in: its hooks have run, and spectral_norm's must not take another step in training.
    """
    for module in net.modules():
        if module is called:
            continue
        for hook in module._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils"):
                hook(module, ())


@contextmanager
def evaluation(net: nn.Module) -> Iterator[None]:
    """Set every module of ``net`` to evaluation mode, then restore each.

    In training, reading a weight changes spectral_norm's vectors.
    """
    modes = {module: module.training for module in net.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
