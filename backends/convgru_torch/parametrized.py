"""Weights computed by the hooks of torch.nn.utils or by parametrizations: compute them now, and as
in evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def compute_hooked_weights(net: nn.Module) -> None:
    """Run the hooks of torch.nn.utils.weight_norm, spectral_norm and prune on every module of
    ``net``.

    They compute a weight when their module is called: after an optimiser's step it is out of date,
    and in a module that only holds parameters it is always.
    """
    for module in net.modules():
        for hook in module._forward_pre_hooks.values():
            if type(hook).__module__.startswith("torch.nn.utils"):
                hook(module, ())


@contextmanager
def evaluation(net: nn.Module) -> Iterator[None]:
    """Set every module of ``net`` to evaluation mode, then restore each: in training spectral_norm
    changes when it is read.
    """
    modes = {module: module.training for module in net.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
