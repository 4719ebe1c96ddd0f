"""Time functions in turn, so that what else the machine does falls on all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

LEAST = 0.02
"""Seconds that one sample takes at least: shorter calls are repeated within it."""

Sampler = Callable[[Callable[[], Any], int], float]
"""Seconds a call, from a function and how often it is called."""


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return a call's result and its seconds."""
    begin = time.perf_counter()
    result = call()
    return result, time.perf_counter() - begin


def alternate(
    calls: Mapping[str, Callable[[], Any]],
    runs: int,
    patience: float,
    sampler: Sampler | None = None,
    begin: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Time functions in rounds: seconds a call, one number a round.

    Each is called once more first, so that no number holds what a first call does (compiling). Odd
    rounds go the other way round. Who has taken ``patience`` seconds rests from then on: a very
    slow one has fewer numbers, at least one.

    Args:
        calls: the functions, which have been called before.
        runs: number of rounds.
        patience: seconds after which a function is not called again.
        sampler: measures one number; None for ``sample``.
        begin: told the name of the function that is called next, outside of what is timed.
    """
    measure = sampler or sample
    spent: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        begin(name)
        spent[name] = measure(call, 1)
        repeats[name] = max(1, round(LEAST / max(spent[name], 1e-9)))
        samples[name] = [] if spent[name] < patience else [spent[name]]
    for number in range(runs):
        names = [name for name in calls if spent[name] < patience]
        for name in names if number % 2 == 0 else reversed(names):
            begin(name)
            samples[name].append(measure(calls[name], repeats[name]))
            spent[name] += samples[name][-1] * repeats[name]
    return samples


def sample(call: Callable[[], Any], repeats: int) -> float:
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
