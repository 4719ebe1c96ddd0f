"""The table in several processes gives the report that one process gives."""

import pytest

from convgru import parity, reference
from convgru.parity import table as case_table
from convgru.weights import Weights

CASES = [case for case in case_table.table() if case.name.startswith(("gru-after-1d", "lstm-1d", "lstm-lengths"))]


def right(spec, arrays, x, state, **call):
    y, final = reference.run(Weights(spec, arrays), x, state, **call)
    return y.astype(x.dtype), tuple(_rounded(entry, x.dtype) for entry in final)


def _rounded(entry, dtype):
    return tuple(part.astype(dtype) for part in entry) if isinstance(entry, tuple) else entry.astype(dtype)


def test_two_processes_report_what_one_does():
    reports = []
    serial = parity.run(CASES, module=right, dtypes="float32")
    parallel = parity.run(CASES, module=right, dtypes="float32", jobs=2, progress=lambda *now: reports.append(now))
    assert serial.ok, serial.failures()
    assert len(serial.rows) == 2 * len(CASES)
    assert parallel.as_dict() == serial.as_dict()
    assert [now[0] for now in reports] == sorted(now[0] for now in reports)
    assert reports[-1][:2] == (len(CASES), len(CASES))


def test_jobs_are_a_positive_number():
    with pytest.raises(ValueError, match="jobs expected a positive number of processes, got 0"):
        parity.run(CASES, jobs=0)
