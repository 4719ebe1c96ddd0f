"""Every way to compute a layer, forced over the case table; what each does not take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad

from convgru import parity
from convgru.errors import UnsupportedError
from convgru.parity import cases, oracle
from convgru.parity import table as case_table
from convgru.parity.module import Module
from convgru.spec import ForecasterSpec, network
from convgru.spec.shapes import cell_parameter_shapes
from convgru.torch import forecast, run
from convgru_torch import (
    fast,
    implementations,
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

TABLE = {case.name: case for case in case_table.table()}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "torch.md"


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

FAST_REFUSES = {
    "the layer has a norm": "norm group-norm norm-peephole norm-3d lengths-norm context-norm",
    "the layer has updates": "updates updates-context",
    "its peepholes are convolutions": "peephole-conv peephole-3d peephole-groups",
    "its convolutions have groups": "groups groups-dilated groups-strided groups-1d groups-3d depthwise",
    "its padding_mode is": "reflect replicate circular circular-1d reflect-3d",
    "its stride is not 1": "strided strided-even strided-valid strided-1d strided-3d strided-dilated preserve",
    "its recurrent_stride is not 1": "strided-state",
    "it has zoneout": "train lengths-train zoneout-eval",
    "it has recurrent dropout": "",  # in the table beside zoneout
    "it is given a context": "context context-timed",
}
"""The reason to the options of the table that it stands for; all others go fast, in every cell."""


def option_of(name):
    """What a case's name says besides the cell."""
    lead = "forecaster-" if name.startswith("forecaster-") else ""
    rest = name.removeprefix(lead)
    cells = sorted((*case_table.CELLS, "gru", "lstm", "rnn"), key=len, reverse=True)
    return lead + rest.removeprefix(next(cell for cell in cells if f"{rest}-".startswith(f"{cell}-"))).lstrip("-")


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


def tensors(value):
    if isinstance(value, dict):
        return {name: tensors(each) for name, each in value.items()}
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


class Forced:
    """The table's networks as pure functions with execution options; ``wrap`` compiles them."""

    tensors = "torch"

    def __init__(self, wrap=lambda function: function, **options):
        self.wrap, self.options = wrap, options

    def run(self, spec, arrays, x, state, **call):
        call = {name: tensors(value) for name, value in call.items()} | self.options
        if isinstance(spec, ForecasterSpec):
            return forecast(spec, arrays, x, call.pop("steps"), state, **call)
        return self.wrap(lambda arrays, x, state: run(spec, arrays, x, state, **call))(arrays, x, state)


class Lean(Forced):
    """By a class without arguments, as planted faults need it."""

    def __init__(self):
        super().__init__(impl="fast", memory="lean")


@cache
def solution(name, dtype):
    """All ways share what the reference says of a case."""
    return oracle.solve(name, cases.problem(TABLE[name], dtype), TABLE[name].steps)


def refusal(name):
    """The reason of ``FAST_REFUSES`` for a case, or None."""
    return next((reason for reason, options in FAST_REFUSES.items() if option_of(name) in options.split()), None)


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


def test_what_goes_fast(monkeypatch):
    """Of the whole table, the networks in FAST_REFUSES are refused, for its reason; no others."""

    class Seen(Exception):
        pass

    def seen(call):
        raise Seen

    monkeypatch.setattr(
        implementations, "IMPLEMENTATIONS",
        {name: each._replace(run=seen) for name, each in implementations.IMPLEMENTATIONS.items()},
    )  # fmt: skip
    for name, case in TABLE.items():
        reason = refusal(name)
        problem = cases.problem(case, "float32")
        forced = Module(Forced(impl="fast"), "fast")
        with pytest.raises(Seen if reason is None else UnsupportedError, match=reason and f"applies, but {reason}"):
            forced.execute(problem.weights, problem.x, problem.state, steps=case.steps, extras=problem.extras)


def test_the_docs_say_it():
    """The table of docs/torch.md has the reasons, and no others."""
    section = DOCS.read_text(encoding="utf-8").partition('`impl="fast"` says')[2].partition("\n\n")[0]
    said = {row.split("|")[2].strip() for row in section.splitlines()[2:]}
    assert said == {*FAST_REFUSES, *NOT_NETWORKS}


X = torch.zeros(3, 2, 2, 6, 5)
CELL = network("gru", 2, 3).layers[0]


def call_of(dtype=torch.float32, change=lambda tensor: tensor, x=X):
    """A call of one layer, its input changed."""
    arrays = {name: torch.zeros(shape, dtype=dtype) for name, shape in cell_parameter_shapes(CELL).items()}
    return readable.SequenceCall(
        CELL, arrays, change(x.to(dtype)), (torch.zeros(*x.shape[1:2], 3, *x.shape[3:], dtype=dtype),)
    )


def traced():
    found = []
    torch.jit.trace(lambda x: found.append(fast.why_not(call_of(x=x))) or x, (X,))
    return found[0]


def transformed():
    found = []
    torch.func.vmap(lambda x: found.append(fast.why_not(call_of(x=x))) or x)(X[None])
    return found[0]


def within(context, **options):
    with context:
        return fast.why_not(call_of(**options))


NOT_NETWORKS = {
    "it is traced (torch.compile, torch.export, torch.jit.trace)": traced,
    "a transform of torch.func is active": transformed,
    "forward-mode differentiation is active": lambda: within(forward_ad.dual_level()),
    "autocast is on": lambda: within(torch.autocast("cpu")),
    "a TorchDispatchMode is active": lambda: within(FakeTensorMode()),
    "not all tensors are of float32, or all of float64": lambda: fast.why_not(call_of(torch.bfloat16)),
    "not all tensors are plain ones": lambda: fast.why_not(call_of(change=lambda x: x.as_subclass(Own))),
    "not all tensors are on the CPU": lambda: fast.why_not(call_of(change=lambda x: x.to("meta"))),
    "not all tensors are dense": lambda: fast.why_not(call_of(change=torch.Tensor.to_sparse)),
    "the input is empty": lambda: fast.why_not(call_of(x=X[:, :0])),
}
"""What stands in the way of the fast implementation besides the network."""


class Own(torch.Tensor):
    """A subclass of tensors."""


@pytest.mark.parametrize("reason", NOT_NETWORKS)
def test_what_else_is_not_taken(reason):
    assert fast.why_not(call_of()) is None
    assert NOT_NETWORKS[reason]() == reason


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
        return transposed(swapped(weight, len(weight) // 3))

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
