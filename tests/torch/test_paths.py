"""Every way to compute a layer, forced over the case table; what each does not take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import pytest
import torch
from support.torch_paths import TABLE, Forced, option_of, refusal
from torch._dynamo.testing import CompileCounterWithBackend

from convgru import parity
from convgru.errors import UnsupportedError
from convgru.parity import cases, oracle
from convgru.parity.module import Module
from convgru_torch import (
    parts,
    readable,
    sequence,
    sequence_gates,
    sequence_ops,
    sequence_plan,
    winograd,
    winograd_gru,
    winograd_transforms,
)


class Way(NamedTuple):
    """Options that force a way to compute.

    ``marks`` are the functions that must have run, of ``WATCHED``, and no others.
    """

    options: dict
    marks: set
    gradients: bool = True


WAYS = {
    "readable": Way({"impl": "readable"}, {"loop"}),
    "fast": Way({"impl": "fast"}, {"forward", "back"}),
    "fast, no gradients": Way({"impl": "fast"}, {"forward"}, gradients=False),
    "lean": Way({"impl": "fast", "memory": "lean"}, {"forward", "back", "again"}),
    "parts": Way({"impl": "fast", "checkpoint_frames": 2}, {"forward", "back", "part"}),
    "readable parts": Way({"impl": "readable", "checkpoint_frames": 2}, {"loop", "part"}),
    "winograd": Way({"algorithm": "winograd"}, {"loop", "tiles"}),
    "winograd, no gradients": Way({"algorithm": "winograd"}, {"tiled GRU"}, gradients=False),
}
WATCHED = {
    (readable, "_states"): "loop",
    (sequence, "forward"): "forward",
    (sequence, "ends"): "forward",
    (sequence, "backward"): "back",
    (sequence, "_again"): "again",
    (parts, "checkpoint"): "part",
    (winograd, "correlate"): "tiles",
    (winograd_gru, "_step"): "tiled GRU",
}

OPTIONS = {}
for _name in TABLE:
    OPTIONS.setdefault(option_of(_name), []).append(_name)
EVERY_CELL = ("1d", "2d", "3d", "wide-twice", "lengths-bidirectional", "one-frame")
SPAN = [
    name
    for index, (option, names) in enumerate(OPTIONS.items())
    for name in (names if option in EVERY_CELL else [names[index % len(names)]])
]
"""Every option of the table, on every cell or on one after another."""


class Lean(Forced):
    """By a class without arguments, as planted faults need it."""

    def __init__(self):
        super().__init__(impl="fast", memory="lean")


@cache
def solution(name, dtype):
    """All ways share what the reference says of a case."""
    return oracle.solve(name, cases.problem(TABLE[name], dtype), TABLE[name].steps)


@pytest.fixture
def calls(monkeypatch):
    """Counts the calls of ``WATCHED``."""
    counts = Counter()
    for (room, name), mark in WATCHED.items():
        function = getattr(room, name)
        monkeypatch.setattr(room, name, lambda *a, _f=function, _m=mark, **k: counts.update([_m]) or _f(*a, **k))
    return counts


def applies(way, case):
    """What of a way's marks a case has, or None where the way is not to be tried."""
    layers, marks = case.spec.recurrent.layers, set(WAYS[way].marks)
    if "winograd" in way:
        tiled = any(winograd.convolutions(cell) for cell in layers)
        if not all(winograd.convolutions(cell) for cell in layers):
            marks |= {"forward", "back"}  # of a layer that has no such convolution
        plain = {"reset": "before", "norm": None, "updates": (), "padding": "same", "padding_mode": "zeros"}
        if way == "winograd" or not tiled:
            return marks if tiled else None
        same = all(getattr(cell, key) == value for cell in layers for key, value in plain.items())
        same = same and all(len(winograd.convolutions(cell)) == 3 for cell in layers)
        return marks if same and case.lengths is case.context is None and not case.train else None
    if layers[0].cell == "rnn":
        marks -= {"again"}  # which keeps no gates, so none are computed again
    if "parts" in way and case.time <= 2:
        marks -= {"part"}
    return marks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPAN)
def test_every_way_passes_the_case_table(name, dtype, calls, monkeypatch):
    """Forward and gradients, by the table's budget, and by no other way than the one forced."""
    monkeypatch.setattr(winograd, "CHANNELS", 1)  # or the table has none that is wide enough
    case, want, reason = TABLE[name], solution(name, dtype), refusal(name)
    for way, (options, _, gradients) in WAYS.items():
        marks = applies(way, case)
        if marks is None:
            continue
        forced = Module(Forced(**options), way)
        exact = want if gradients else replace(want, gradients={}, budget=replace(want.budget, gradients={}))
        if reason is not None and options.get("impl") == "fast":
            with pytest.raises(UnsupportedError, match=f"impl='fast' applies, but {reason}"):
                oracle.compare(exact, forced, way)
            continue
        calls.clear()
        rows = oracle.compare(exact, forced, way)
        allowed = winograd_transforms.amplification() if "winograd" in way else 1
        for row in rows:
            assert not row.blind
            assert row.ratio <= allowed, f"{way}: {row}"
        assert set(calls) == marks, way


COMPILED = ("gru-after-lengths", "lstm-peephole-image", "gru-before-norm")


@pytest.mark.parametrize("name", COMPILED)
def test_the_operator_passes_the_case_table(name, calls):
    """Under torch.compile; inside of the operator the fast implementation runs where it applies."""
    counter = CompileCounterWithBackend("eager")
    torch._dynamo.reset()
    forced = Module(Forced(lambda call: torch.compile(call, fullgraph=True, dynamic=True, backend=counter)), "compiled")
    for row in oracle.compare(solution(name, "float32"), forced, "compiled"):
        assert row.ok, row
    targets = {str(node.target) for graph in counter.graphs for node in graph.graph.nodes}
    assert any(target.startswith("convgru.layer") for target in targets)
    assert not any("sigmoid" in target or "conv2d" in target for target in targets)
    assert {"loop"} & set(calls) == ({"loop"} if refusal(name) else set())
    torch._dynamo.reset()


def swapped(weight, gates):
    """The rows of the gates in another order."""
    return torch.cat(weight.chunk(gates)[::-1])


def wrong_forward(monkeypatch):
    take = sequence_plan.Block.take

    def swap(self, array):
        rows = take(self, array)
        return swapped(rows, len(self.gates)) if len(self.gates) > 1 else rows

    monkeypatch.setattr(sequence_plan.Block, "take", swap)


def wrong_gates(monkeypatch):
    gate = sequence_gates.Gates.gate

    def swap(self, k):
        a = gate(self, k)
        return swapped(a.transpose(0, 1), len(self.plan.blocks[k].gates)).transpose(0, 1).contiguous(
            memory_format=torch.channels_last
        )  # fmt: skip

    monkeypatch.setattr(sequence_gates.Gates, "gate", swap)


def wrong_transposes(monkeypatch):
    transposed = sequence_ops.transposed

    def swap(weight):
        return transposed(swapped(weight, len(weight) // 3))  # of the table's three channels

    for cell in sequence.CELLS.values():
        monkeypatch.setattr(cell, "transposed", swap)


def wrong_weight_gradients(monkeypatch):
    add = sequence_gates.WeightGradients.add

    def swap(self, name, rows, grad):
        add(self, name, rows, swapped(grad, len(grad) // 3))

    monkeypatch.setattr(sequence_gates.WeightGradients, "add", swap)


@pytest.mark.parametrize("fault", [wrong_forward, wrong_gates, wrong_transposes, wrong_weight_gradients])
@pytest.mark.parametrize("way", ["fast", "lean"])
def test_a_wrong_gate_order_fails_the_case_table(way, fault, monkeypatch):
    """Ours, somewhere in the way itself: the comparison is with the reference, not with a copy."""
    names = {"gru-before-2d", "gru-after-2d", "lstm-2d", "lstm-peephole-channel"}
    fault(monkeypatch)
    rows = [
        row
        for name in names
        for row in oracle.compare(solution(name, "float64"), Module(Forced(**WAYS[way].options), way), way)
    ]
    assert {row.case for row in rows if row.ratio > 1e6} == names


def test_swapped_weights_fail_the_case_table():
    """Negative controls: the reference's faults, planted in the weights that the way is given."""
    report = parity.run([TABLE["gru-after-2d"], TABLE["lstm-2d"]], module=Lean)
    assert report.ok, report.failures()
    assert len(report.controls) == 8
