"""Parity without any framework: what the comparison of a stand-in backend reports and refuses."""

import contextlib
import json
import re

import numpy as np
import pytest

from convgru import parity, reference, registry
from convgru.calls import Extras
from convgru.initialization import init
from convgru.parity import cases, tasks
from convgru.parity import table as case_table
from convgru.parity.faults import CONTROLS, FAULTS, plant
from convgru.spec import forecaster, network
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

CHOSEN = ("gru-before-2d", "lstm-1d", "forecaster-gru-before-patch", "gru-after-context-timed", "lstm-lengths-train")
RNN = [f"layers.0.fwd.{name}" for name in ("weight_ih", "weight_hh", "bias")]
OVERFLOW = [[[[[1e300]]]], [[[[1e300]]]], [1.0]]
SMALL = [case for case in case_table.table() if case.name in (*CHOSEN, "forecaster-gru-before-forced")]


class Exact:
    """A backend that is the reference itself, rounded once; ``spoil`` changes what it returns."""

    def __init__(self, spoil=lambda name, array: array, unsupported=()):
        self.spoil, self.unsupported = spoil, unsupported

    def versions(self):
        return {"exact": "1"}

    def precise(self):
        return contextlib.nullcontext()

    def execute(self, weights, x, state=None, *, steps=None, extras=None, cotangents=None, device="cpu"):
        if str(weights.dtype) in self.unsupported:
            raise registry.UnsupportedError(f"exact has no {weights.dtype}")
        extras = extras or Extras()
        y, final = reference.run(weights, x, state, steps=steps, **vars(extras))
        final = nest_state(weights.spec, {n: self.spoil(n, a) for n, a in state_leaves(weights.spec, final)})
        gradients = {}
        if cotangents is not None:
            gradients = reference.gradient(weights, x, state, cotangents, steps=steps, extras=extras)
            gradients = {name: self.spoil("gradient " + name, array) for name, array in gradients.items()}
        rounded = nest_state(weights.spec, {n: a.astype(x.dtype) for n, a in state_leaves(weights.spec, final)})
        gradients = {name: array.astype(x.dtype) for name, array in gradients.items()}
        return self.spoil("output", y).astype(x.dtype), rounded, gradients


@pytest.fixture
def backend(monkeypatch):
    def install(exact):
        monkeypatch.setattr(registry, "get", lambda name: exact)
        monkeypatch.setattr(registry, "available", lambda: {"exact": exact, "other": "pip install other"})

    return install


def test_the_table_has_cases_for_everything():
    table = case_table.table()
    assert len(table) >= 150
    assert len({case.name for case in table}) == len(table)
    assert {case.spec.ndim for case in table} == {1, 2, 3}


def test_every_bias_of_a_problem_is_not_zero():
    for case in case_table.table():
        for name, array in cases.problem(case, "float32").weights.arrays.items():
            assert "bias" not in name or np.count_nonzero(array) == array.size


def test_an_exact_backend_passes(backend):
    backend(Exact())
    report = parity.run(SMALL)
    assert report.ok
    assert report.absent == {"other": "pip install other"}
    assert len(report.rows) == len(SMALL) * 2 * 3
    assert len(report.controls) == 2 * len(FAULTS)
    assert all(c.ratio > 10 for c in report.controls)


@pytest.mark.parametrize("where", ["output", "state.0.h", "gradient x", "gradient layers.0.fwd.weight_hh"])
@pytest.mark.parametrize("how", [lambda a: a + 1e-4, lambda a: a * np.nan, lambda a: -a])
def test_a_spoilt_backend_fails(backend, where, how):
    backend(Exact(lambda name, array: how(array) if name == where else array))
    report = parity.run(SMALL[:1], controls=False)
    assert not report.ok
    assert where.split()[-1] in " ".join(report.failures())
    json.loads(report.to_json())
    table = [f"{row.dtype} {row.quantity}" for row in report.rows]
    titles, *lines = str(report).splitlines()
    assert [" ".join(line.split()[1:3]) for line in (titles, *lines[:6])] == ["dtype quantity", *table]
    assert lines[6:] == ["FAILED: 2", *report.failures()]


def test_a_fault_makes_the_run_fail(backend):
    backend(Exact())
    chosen = [case for case in case_table.table() if case.name in CONTROLS.values()]
    for fault in FAULTS:
        assert not parity.run(chosen, fault=fault, dtypes=["float32"]).ok
    with pytest.raises(ValueError, match="fault expected one of"):
        parity.run(fault="none")


def test_a_fault_that_nobody_notices_fails_the_report(backend, monkeypatch):
    backend(Exact())
    monkeypatch.setattr(tasks, "plant", lambda fault, weights: weights)
    report = parity.run(SMALL[:1])
    assert not report.ok
    assert "was not caught" in report.failures()[0]


def test_a_run_that_compared_nothing_fails(backend):
    backend(Exact(unsupported=("float32", "float64")))
    report = parity.run(SMALL)
    assert not report.ok
    assert report.failures() == ["nothing was compared: exact has no float32; exact has no float64"]
    backend(Exact())
    assert not parity.run([]).ok


def test_a_dtype_that_is_not_supported_fails_only_if_the_backend_was_asked_for(backend):
    backend(Exact(unsupported=("float64",)))
    report = parity.run(SMALL[:1])
    assert report.ok
    assert report.unsupported == {"exact float64 cpu": "exact has no float64"}
    report = parity.run(SMALL[:1], backends=["exact"])
    assert report.failures() == ["exact float64 cpu was asked for and compared nothing: exact has no float64"]
    assert parity.run(SMALL[:1], backends=["exact"], dtypes="float32").ok


def test_a_backend_that_computes_no_dtype_is_only_reported_beside_one_that_does(monkeypatch):
    both = {"exact": Exact(), "half": Exact(unsupported=("float32",))}
    monkeypatch.setattr(registry, "get", both.__getitem__)
    monkeypatch.setattr(registry, "available", lambda: both)
    assert parity.run(SMALL[:1], dtypes="float32").ok
    assert not parity.run(SMALL[:1], dtypes="float32", backends=["half", "exact"]).ok


def test_a_backend_that_refuses_some_cases_fails(backend):
    class Partly(Exact):
        def execute(self, weights, x, *args, **options):
            if weights.spec.ndim == 1:
                raise registry.UnsupportedError("one dimension is too few")
            return super().execute(weights, x, *args, **options)

    backend(Partly())
    report = parity.run(SMALL, controls=False)
    assert not report.ok
    assert "refused others: one dimension is too few" in report.failures()[0]


def test_float32_does_not_pose_as_float64(backend):
    class Coarse(Exact):
        def execute(self, weights, x, *args, **options):
            y, final, gradients = super().execute(weights, x, *args, **options)
            return y.astype(np.float32), final, gradients

    backend(Coarse())
    assert parity.run(SMALL[:1], dtypes="float32", controls=False).ok
    assert not parity.run(SMALL[:1], dtypes="float64", controls=False).ok


def test_numbers_that_are_not_finite_are_no_agreement(backend):
    backend(Exact())
    weights = cases.problem(SMALL[0], "float32").weights
    with pytest.raises(ValueError, match="a comparison needs finite numbers"):
        parity.compare(weights, np.full((2, 1, 2, 4, 4), np.nan))
    huge = Weights(network("rnn", 1, 1, 1, activation="relu"), dict(zip(RNN, map(np.array, OVERFLOW), strict=True)))
    with np.errstate(all="ignore"):
        assert not parity.compare(huge, np.ones((2, 1, 1, 2, 2)), gradients=False).ok


def test_compare_takes_an_input_or_a_size(backend):
    backend(Exact())
    weights = cases.problem(SMALL[0], "float32").weights
    with pytest.raises(
        ValueError, match=r"compare expected x, or the size of a random one, got both: \(2, 1, 2, 4, 4\)"
    ):
        parity.compare(weights, np.zeros((2, 1, 2, 4, 4)), size=(8, 8))


def test_compare_takes_given_input(backend):
    backend(Exact())
    case = SMALL[0]
    weights = cases.problem(case, "float32").weights
    x = np.random.default_rng(0).standard_normal((2, 1, 2, 4, 4))
    report = parity.compare(weights, x, dtype="float64", gradients=False)
    assert report.ok
    assert {row.dtype for row in report.rows} == {"float64"}
    with pytest.raises(ValueError, match="expected 2 input channels on axis 2, got 3"):
        parity.compare(weights, np.zeros((2, 1, 3, 4, 4)))


ZERO = Exact(lambda name, array: 0 * array)
BLIND = r"too ill-conditioned to compare \(budget .*, largest number .*\)"


@pytest.mark.parametrize(
    ("scale", "time", "x", "blind"),
    [(30.0, 30, 1.0, {"output", "state", "gradient"}), (1e-4, 3, 1e-3, {"output", "state"})],
    ids=["large", "small"],
)
def test_what_zeros_would_pass_is_not_compared(backend, scale, time, x, blind):
    """Neither the right numbers nor zeros pass where the budget exceeds the numbers."""
    backend(ZERO)
    spec = network("gru", 2, 3)
    weights = init(spec, 0, "float32")
    weights = Weights(spec, {name: (scale * array).astype(np.float32) for name, array in weights.arrays.items()})
    frames = x * np.random.default_rng(0).standard_normal((time, 1, 2, 4, 4))
    for exact in (ZERO, Exact()):
        backend(exact)
        report = parity.compare(weights, frames)
        assert {row.quantity for row in report.rows if row.blind} >= blind
        failures = " ".join(report.failures())
        assert re.search(rf"output \(output\) {BLIND}", failures)
        assert re.search(BLIND, parity.compare(weights, frames, gradients=False).failures()[0])
    assert not any(row.blind for row in parity.compare(weights, frames, tf32=True).rows)
    json.loads(report.to_json())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtypes": ()}, "dtypes expected one or more of 'float32', 'float64', 'float16', 'bfloat16', got"),
        ({"backends": []}, "backends expected one or more names, or None for all that are installed, got"),
    ],
)
def test_a_run_over_nothing_is_refused(backend, arguments, message):
    backend(Exact())
    with pytest.raises(ValueError, match=message):
        parity.run(SMALL[:1], **arguments)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_do_change_the_weights(fault):
    planted = 0
    for case in case_table.table():
        weights = cases.problem(case, "float32").weights
        faulty = plant(fault, weights)
        if faulty is not None:
            planted += 1
            assert faulty.spec != weights.spec or not faulty.equal(weights), case.name
    assert planted >= 10


PLANTED = {
    "gru": network("gru", 2, [2, 2], reset="after", norm=1, bidirectional=True),
    "updates": network("gru", 2, 2, updates=((1, 3), (3, 1)), groups=2),
    "lstm": network("lstm", 2, 2, peephole="conv", norm=4, bidirectional="stack"),
    "hadamard": network("lstm", 2, 2, peephole="hadamard", state_size=3, stride=2),
    "decoder": forecaster("gru", 1, 2, patch=2, decoder=True, norm=2, reset="after"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", PLANTED)
def test_faults_are_faults_in_whole_networks_too(name, fault):
    """Each changes the output, or says by None that there is nothing to break."""
    spec = PLANTED[name]
    weights = cases.noisy(init(spec, 3, "float64"), 3)
    faulty = plant(fault, weights)
    has = {
        "swapped-gates": True,
        "flipped-kernel": True,
        "dropped-bias_hn": any(n.endswith("bias_hn") for n in weights.arrays),
        "wrong-reset": spec.recurrent.cell == "gru",
    }
    assert (faulty is not None) == has[fault]
    if faulty is not None:
        x = np.random.default_rng(0).standard_normal((3, 1, spec.in_channels, 6, 6))
        steps = 2 if spec.title == "Forecaster" else None
        before, after = (reference.run(w, x, steps=steps)[0] for w in (weights, faulty))
        assert np.abs(before - after).max() > 1e-3


def test_swapped_gates_take_their_peepholes_with_them():
    weights = cases.noisy(init(PLANTED["lstm"], 3, "float64"), 3)
    swapped = plant("swapped-gates", weights)
    for direction in ("fwd", "bwd"):
        here, there = (f"layers.0.{direction}.peephole_{gate}" for gate in "if")
        np.testing.assert_array_equal(weights.arrays[here], swapped.arrays[there])
        np.testing.assert_array_equal(weights.arrays[there], swapped.arrays[here])
    assert plant("swapped-gates", swapped).equal(weights)


def test_a_wrong_reset_comes_back():
    weights = cases.noisy(init(PLANTED["updates"], 3, "float64"), 3)
    assert plant("wrong-reset", plant("wrong-reset", weights)).equal(weights)
