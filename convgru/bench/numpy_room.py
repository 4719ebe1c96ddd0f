"""The contestants in NumPy: the float32 runtime, the float64 reference, the products alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from convgru import reference
from convgru.bench.contest import CONVGRU, FLOOR, Contest, Entry
from convgru.reference import float32_ops
from convgru.spec.shapes import layer_prefix

FORWARD_ONLY = "NumPy has no training"


def enter(contest: Contest) -> None:
    """Enter the runtime in float32, the reference in float64, and the floor."""
    contest.enter(CONVGRU, lambda: _runtime(contest, "float32"))
    contest.enter("float64 reference", lambda: _runtime(contest, "float64"))
    contest.enter(FLOOR, lambda: _floor(contest))
    for name in contest.variants:
        contest.skip(name, "NumPy's runtime has no options")


def _runtime(contest: Contest, dtype: str) -> Entry:
    def forward() -> Any:
        if not contest.workload.streaming:
            return reference.run(contest.weights, contest.x, contest.state, dtype=dtype)[0]
        outputs, state = [], contest.state
        for frame in contest.x:
            y, state = reference.run(contest.weights, frame[None], state, dtype=dtype)
            outputs.append(y[0])
        return np.stack(outputs)

    def arrays(forward: Any, training: Any) -> Mapping[str, np.ndarray]:
        return {"output": forward}

    return Entry(forward, arrays=arrays)


def _floor(contest: Contest) -> Entry:
    """The convolutions alone, frame by frame, of numbers that stand for inputs and states."""
    work = contest.workload
    layers = []
    for index, cell in enumerate(contest.spec.layers):
        names = {n: contest.weights.arrays[layer_prefix(index) + n] for n in ("weight_ih", "weight_hh", "bias")}
        parts = ("ih", "hh_rz", "hh_n") if cell.cell == "gru" else ("ih", "hh")
        x, h = (np.ones((work.batch, *work.size, c), np.float32) for c in (cell.in_channels, cell.hidden_channels))
        layers.append((float32_ops.prepare(cell, names), [(part, x if part == "ih" else h) for part in parts]))

    def forward() -> None:
        for params, convolutions in layers:
            for _ in range(work.time):
                for part, image in convolutions:
                    float32_ops.conv(image, params, part)

    return Entry(forward)
