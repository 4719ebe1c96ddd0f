"""Time functions in turn, so that what else the machine does falls on all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

LEAST = 0.02
"""Seconds that one sample takes at least: shorter calls are repeated within it."""


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return a call's result and its seconds."""
    begin = time.perf_counter()
    result = call()
    return result, time.perf_counter() - begin


def alternate(
    calls: Mapping[str, Callable[[], Any]], first: Mapping[str, float], runs: int, patience: float
) -> dict[str, list[float]]:
    """Time functions that have been called once, in rounds: seconds a call, one number a round.

    Odd rounds go the other way round. Who has taken ``patience`` seconds rests from then on, so
    that a very slow one has fewer numbers; whose first call took longer than that has this alone.

    Args:
        calls: the functions.
        first: seconds of the first call of each.
        runs: number of rounds.
        patience: seconds after which a function is not called again.
    """
    spent, samples = dict(first), {name: [] if first[name] < patience else [first[name]] for name in calls}
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        if spent[name] < patience:
            _, seconds = timed(call)  # warm now, as the first call may not have been
            spent[name] = seconds
            repeats[name] = max(1, round(LEAST / max(seconds, 1e-9)))
    for round_number in range(runs):
        names = [name for name in repeats if spent[name] < patience or not samples[name]]
        for name in names if round_number % 2 == 0 else reversed(names):
            seconds = _sample(calls[name], repeats[name])
            samples[name].append(seconds)
            spent[name] += seconds * repeats[name]
    return samples


def _sample(call: Callable[[], Any], repeats: int) -> float:
    """Seconds a call, the garbage collector at rest."""
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - begin) / repeats
    finally:
        gc.enable()
