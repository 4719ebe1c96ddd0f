"""The float32 runtime in NumPy: within parity's budgets on the whole table, float32 throughout."""

from __future__ import annotations

import numpy as np
import pytest
from support import relative_error

import convgru
from convgru import parity, reference
from convgru.parity import table
from convgru.parity.cases import problem
from convgru.reference import float32_ops
from convgru.spec.shapes import state_leaves
from convgru.weights import Weights


def run(spec, arrays, x, state, **call):
    """The runtime as a user's own network, with the dtype that it returns."""
    return reference.run(Weights(spec, arrays), x, state, dtype="float32", **call)


def test_it_keeps_within_the_budgets_of_parity_on_the_whole_table():
    report = parity.run(module=run, dtypes=["float32"], gradients=False)
    assert report.ok, report.failures()
    assert {row.case for row in report.rows} == {case.name for case in table.table()}
    assert report.controls


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_it_computes_in_float32_whatever_the_weights_are(dtype):
    given = problem(next(case for case in table.table() if case.name == "lstm-norm-peephole"), dtype)
    y, state = reference.run(given.weights, given.x, given.state, dtype=np.float32)
    assert {y.dtype, *(leaf.dtype for _, leaf in state_leaves(given.weights.spec, state))} == {np.dtype(np.float32)}
    want, _ = reference.run(given.weights, given.x, given.state)
    assert want.dtype == np.float64
    assert 0 < relative_error(y, want) < 1e-5


def test_it_runs_on_its_own_convolution(monkeypatch):
    """A fault in the fast convolution shows: the test above does not compare the slow one."""
    spec = convgru.network("gru", 2, 3)
    weights, x = convgru.init(spec), np.ones((2, 1, 2, 5, 4))
    right, _ = reference.run(weights, x, dtype="float32")
    columns = float32_ops._columns
    monkeypatch.setattr(float32_ops, "_columns", lambda *given: -columns(*given))
    wrong, _ = reference.run(weights, x, dtype="float32")
    assert np.abs(right - wrong).max() > 0.01


@pytest.mark.parametrize("dtype", ["float16", "int64", "bfloat16", "single precision", 3])
def test_another_dtype_is_refused(dtype):
    weights = convgru.init(convgru.network("gru", 1, 2))
    with pytest.raises(ValueError, match=r"reference\.run dtype expected 'float64' or 'float32', got"):
        reference.run(weights, np.ones((1, 1, 1, 3, 3)), dtype=dtype)
