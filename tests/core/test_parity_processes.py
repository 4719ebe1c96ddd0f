"""The table in several processes gives the report that one process gives."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from parity_tasks import ended, not_finite, of_float64, right, settings_of_a_process, two_short_tasks_in, two_tasks_in

from convgru import parity
from convgru.parity import comparison, processes
from convgru.parity import table as case_table
from convgru.parity.faults import CONTROLS
from convgru.parity.processes import workers

CASES = [case for case in case_table.table() if case.name.startswith(("gru-after-1d", "lstm-1d", "lstm-lengths"))]


def test_two_processes_report_what_one_does():
    reports = []
    serial = parity.run(CASES, module=right, dtypes="float32")
    parallel = parity.run(CASES, module=right, dtypes="float32", jobs=2, progress=lambda *now: reports.append(now))
    assert serial.ok, serial.failures()
    assert len(serial.rows) == 2 * len(CASES)
    assert parallel.as_dict() == serial.as_dict()
    assert [now[0] for now in reports] == sorted(now[0] for now in reports)
    assert reports[-1][:2] == (len(CASES), len(CASES))


@pytest.mark.parametrize(
    ("module", "reason"), [(of_float64, "dtype float64, expected float32"), (not_finite, "not finite")]
)
def test_a_failure_says_why_an_error_is_infinite(module, reason):
    report = parity.run(CASES[:1], module=module, dtypes="float32", controls=False)
    failures = [text for text in report.failures() if "output" in text]
    assert failures == [f"{report.backends[0]} float32 {CASES[0].name}: output (output) {reason}"]


def test_jobs_are_a_positive_number():
    with pytest.raises(ValueError, match="jobs expected a positive number of processes, got 0"):
        parity.run(CASES, jobs=0)


def test_a_comparison_in_a_process_of_its_own_comes_to_an_end(tmp_path):
    parent = multiprocessing.get_context("spawn").Process(target=two_short_tasks_in, args=(tmp_path,))
    parent.start()
    try:
        parent.join(60)
        assert parent.exitcode == 0
    finally:
        parent.kill()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_a_parent_that_is_killed_or_interrupted(tmp_path, signal_number):
    parent = multiprocessing.get_context("spawn").Process(target=two_tasks_in, args=(tmp_path,))
    parent.start()
    until = time.monotonic() + 60
    while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(parent.pid, signal_number)
    parent.join()
    while any(map(is_running, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(workers) == 2
    assert not any(map(is_running, workers))


def is_running(process):
    """Whether a process exists and is not a zombie, which nobody has waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_watches_may_raise_and_only_the_comparisons_processes_end():
    """Not one that the program has started in the meantime."""
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))

    def stop(*_):
        other.start()
        raise RuntimeError("the window was closed")

    try:
        with pytest.raises(RuntimeError, match="the window was closed"):
            parity.run(CASES * 20, module=right, dtypes="float32", jobs=2, progress=stop)
        until = time.monotonic() + 60
        while len(multiprocessing.active_children()) > 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert multiprocessing.active_children() == [other]
    finally:
        other.kill()


def test_a_process_that_ends_early_is_an_error_with_a_reason():
    reason = "ended before its time, perhaps for lack of memory: fewer jobs"
    with pytest.raises(ChildProcessError, match=reason), workers(2) as share:
        list(share([ended] * 2))


def test_there_are_no_more_processes_than_tasks(monkeypatch):
    asked = []

    class Pool(processes.ProcessPoolExecutor):
        def __init__(self, workers, *rest):
            asked.append(workers)
            super().__init__(workers, *rest)

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Pool)
    assert parity.run(CASES * 2, module=right, dtypes="float32", jobs=100, controls=False).ok
    assert asked == [-(-max(len(CASES * 2), len(CONTROLS)) // comparison.CHUNK)]


def test_more_processes_than_cores_have_one_each(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: [4, 6])
    assert processes._shares(2) == [[4], [6]]
    assert processes._shares(1) == [[4, 6]]
    assert processes._shares(3) == [[4], [6], [4]]


@pytest.mark.parametrize("quick", [False, True])
def test_processes_are_told_to_compile_quickly_and_share_the_cores(quick, monkeypatch):
    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)
    with workers(2, quick=quick) as share:
        told = list(share([settings_of_a_process] * 4))
    assert {quickly for quickly, _ in told} == {"1" if quick else None}
    assert "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ
    if hasattr(os, "sched_getaffinity") and len(cores := os.sched_getaffinity(0)) > 1:
        assert all(0 < len(mine) < len(cores) and mine <= cores for _, mine in told)
