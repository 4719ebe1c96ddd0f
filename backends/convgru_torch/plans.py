"""Remember what depends on specs, sizes and dtypes alone, so that a call works it out only once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch

R = TypeVar("R")


def planned(function: Callable[..., R]) -> Callable[..., R]:
    """Remember the results of a function of hashable arguments that hold no tensors.

    In a trace (torch.compile, torch.export, torch.jit.trace) the function itself runs: sizes may be
    free there, and what is found for one trace must not stand in another.
    """
    remembered = lru_cache(maxsize=1024)(function)

    @wraps(function)
    def plan(*args: Any) -> R:
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return function(*args)
        try:
            return remembered(*args)
        except TypeError:  # a free size of other tracers, which has no hash; or the function's own error
            return function(*args)

    return plan
