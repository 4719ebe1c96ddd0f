"""Parity of a user's own network: what it is called with, may decline, and must not get wrong."""

import sys

import numpy as np
import pytest

from convgru import UnsupportedError, equations, parity, reference
from convgru.parity import module
from convgru.parity import table as case_table
from convgru.spec import network
from convgru.weights import Weights

SMALL = [case for case in case_table.table() if case.name.startswith(("gru-before-", "lstm-lengths"))]


def right(spec, arrays, x, state, **call):
    """A network whose code is the reference's."""
    y, final = reference.run(Weights(spec, arrays), x, state, **call)
    return y.astype(x.dtype), tuple(_rounded(entry, x.dtype) for entry in final)


def _rounded(entry, dtype):
    return tuple(part.astype(dtype) for part in entry) if isinstance(entry, tuple) else entry.astype(dtype)


def only_frames(spec, arrays, x, state):
    """One that has no other argument, and one layer in one dimension."""
    if spec != network("gru", 2, 3, ndim=1):
        raise UnsupportedError("one layer of ConvGRU in one dimension is all there is")
    return right(spec, arrays, x, state)


class Differentiable:
    """One with gradients of its own."""

    bias = 0.0

    def run(self, spec, arrays, x, state, **call):
        return right(spec, arrays, x, state, **call)

    def gradients(self, spec, arrays, x, state, cotangents, **call):
        steps = call.pop("steps", None)
        extras = module.Extras(**call)
        slopes = reference.gradient(Weights(spec, arrays), x, state, cotangents, steps=steps, extras=extras)
        return {name: (slope + self.bias).astype(x.dtype) for name, slope in slopes.items()}


def test_a_right_module_passes():
    report = parity.run(SMALL, module=right)
    assert report.ok, report.failures()
    assert report.backends == ["right"]
    assert not report.declined
    assert {row.quantity for row in report.rows} == {"output", "state"}
    assert len(report.rows) == len(SMALL) * 2 * 2
    assert {control.fault for control in report.controls} >= {"flipped-kernel", "swapped-gates", "wrong-reset"}


def test_gradients_of_its_own_are_compared():
    report = parity.run(SMALL[:3], module=Differentiable)
    assert report.ok, report.failures()
    assert {row.quantity for row in report.rows} == {"output", "state", "gradient"}

    class Off(Differentiable):
        bias = 1e-4

    report = parity.run(SMALL[:3], module=Off, controls=False)
    assert len(report.failures()) == 6
    assert "gradient" in report.failures()[0]


def test_cases_are_declined_with_their_reason():
    some = case_table.table()[::12] + [case for case in SMALL if case.name == "lstm-lengths"]
    report = parity.run(some, module=only_frames)
    assert report.ok, report.failures()
    assert {row.case for row in report.rows} == {"gru-before-1d"}
    assert len(report.declined) == 2 * (len(some) - 1)
    reasons = set(report.declined.values())
    assert reasons >= {"one layer of ConvGRU in one dimension is all there is", "only_frames takes no lengths"}
    assert "only_frames float64 cpu lstm-lengths" in report.declined
    assert {control.case for control in report.controls} == {"gru-before-1d"}
    ran = f"only_frames ran 1 of {len(some)} cases, the others it declined"
    assert report.verdict == f"within budget; {ran}"


def test_a_module_that_declines_everything_fails():
    report = parity.run(SMALL[1:3], module=only_frames)
    assert "only_frames compared nothing: one layer" in report.failures()[0]


def test_a_wrong_module_fails(monkeypatch):
    before = equations.gru_before

    def wrong(spec, arrays, x, state, **call):
        with monkeypatch.context() as patched:
            patched.setattr(equations, "gru_before", lambda *a: tuple(h * (1 + 1e-5) for h in before(*a)))
            return right(spec, arrays, x, state, **call)

    assert not parity.run(SMALL[:2], module=wrong, controls=False).ok


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda spec, arrays, x, state: x, "expected run to return (output, state), got ndarray"),
        (lambda spec, arrays, x, state: (x, ()), "expected a state of 1"),
        (lambda spec, arrays, x, state: 1 / 0, "ZeroDivisionError"),
        (lambda spec, arrays, x, state: sys.exit(0), "SystemExit: 0"),
        (lambda spec, arrays, x, state: (x.tolist(), state), "output of output: expected a NumPy array, got list"),
        (lambda spec, arrays, x, state: (x[:1], state), "output of output: expected shape"),
    ],
)
def test_what_breaks_is_reported_and_fails(run, reason):
    report = parity.run(SMALL[:2], module=run, controls=False)
    assert len(report.errors) == 4
    assert all(reason in failure for failure in report.failures()[:4])


def test_float32_does_not_pose_as_float64():
    def coarse(spec, arrays, x, state, **call):
        return right(spec, {n: a.astype(np.float32) for n, a in arrays.items()}, x.astype(np.float32), state, **call)

    assert parity.run(SMALL[:2], module=coarse, dtypes="float32", controls=False).ok
    assert not parity.run(SMALL[:2], module=coarse, dtypes="float64", controls=False).ok


class Agreeable(np.ndarray):
    """An array from which everything differs by zero."""

    def __array_ufunc__(self, function, method, *inputs, **options):
        plain = [np.asarray(each) for each in inputs]
        return 0 * getattr(function, method)(*plain, **options)

    def astype(self, *arguments, **options):
        return self


def test_a_kind_of_array_of_ones_own_is_compared_by_its_numbers():
    def off(spec, arrays, x, state, **call):
        y, final = right(spec, arrays, x, state, **call)
        return (y + 1).view(Agreeable), final

    rows = [row for row in parity.run(SMALL[:1], module=off, controls=False).rows if row.quantity == "output"]
    assert rows
    assert not any(row.ok for row in rows)


def test_a_module_beside_backends_and_on_given_weights(monkeypatch):
    case = SMALL[0]
    weights = parity.cases.problem(case, "float32").weights
    report = parity.compare(weights, module=right)
    assert report.ok, report.failures()
    assert {row.backend for row in report.rows} == {"right"}


def test_where_a_module_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine_for_parity.py").write_text(
        "from convgru import reference\nfrom convgru.weights import Weights\n\n\nclass Mine:\n"
        "    class Inner:\n        def run(self, spec, arrays, x, state, **call):\n"
        "            y, end = reference.run(Weights(spec, arrays), x, state, **call)\n            return y, end\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    report = parity.run(SMALL[:1], module="mine_for_parity:Mine.Inner", dtypes="float64")
    assert report.ok, report.failures()
    assert report.backends == ["mine_for_parity:Mine.Inner"]
    sys.modules.pop("mine_for_parity")


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "1 / 0"])
def test_a_module_that_cannot_be_imported(tmp_path, monkeypatch, code):
    (tmp_path / "script_for_parity.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="module script_for_parity:run: importing script_for_parity raised "):
        parity.run(SMALL[:1], module="script_for_parity:run")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("mine", ValueError, "expected package.module:name, got 'mine'"),
        ("convgru.parity:nothing", ImportError, "convgru.parity has no nothing"),
        ("no_such_package:run", ImportError, "no_such_package"),
        ("convgru.parity:DTYPES", TypeError, "expected a function run"),
        (3, TypeError, "expected a function run"),
        (type("Ends", (Differentiable,), {"__init__": lambda self: sys.exit(0)}), ValueError, "raised SystemExit: 0"),
        (type("Odd", (Differentiable,), {"tensors": "lists"}), ValueError, "tensors expected one of"),
    ],
)
def test_what_is_no_module(given, error, message):
    with pytest.raises(error, match=message):
        parity.run(SMALL[:1], module=given)
