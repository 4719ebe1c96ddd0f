"""``convgru bench``: workloads, rounds, rows, ratios, and the command with NumPy alone."""

from __future__ import annotations

import csv
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_fails, contest_rows

from convgru.bench import WORKLOADS, Report, Row, Settings, plot, session, tables, worker
from convgru.bench.contest import Contest, Entry
from convgru.bench.timing import alternate
from convgru.bench.workloads import scaled
from convgru.errors import UnsupportedError

COMMAND = ("bench", "--backends", "numpy", "--scale", "0.0002", "--runs", "2", "--cells", "gru")
ROW = {
    "backend": str, "workload": str, "cell": str, "contestant": str, "measure": str, "status": str, "reason": str,
    "samples": list, "first": float, "error": float, "saved_bytes": type(None), "peak_bytes": int, "seconds": float,
    "low": float, "high": float, "runs": int, "to_floor": float, "to_plain": type(None), "best_rival": str,
    "to_best_rival": float, "to_torch_plain": type(None),
}  # fmt: skip


@pytest.mark.parametrize("scale", [1, 0.3, 0.01, 1e-9])
def test_no_workload_has_more_work_than_the_scale_allows(scale):
    whole, largest = scaled([*WORKLOADS], 1), max(w.work for w in WORKLOADS.values())
    for name, small in scaled([*WORKLOADS], scale).items():
        big = whole[name]
        assert (small.in_channels, small.hidden, small.kernels) == (big.in_channels, big.hidden, big.kernels)
        smallest = (small.batch, small.time) == (1, min(4, big.time)) and max(small.size) <= 8
        assert small.work <= scale * largest or smallest
        assert small == big or big.work > scale * largest
        assert all(
            1 <= n <= m
            for n, m in zip((small.batch, small.time, *small.size), (big.batch, big.time, *big.size), strict=True)
        )


def test_the_work_of_a_workload_is_that_of_its_convolutions():
    """W1 of the first layer: (8 + 32) · 96 · 9 multiply-adds for each pixel, and so on."""
    per_pixel = 40 * 96 * 9 + 96 * 192 * 25 + 80 * 48 * 9
    assert WORKLOADS["W1"].work == per_pixel * 64 * 64 * 4 * 10


def test_they_take_turns_and_the_slow_ones_rest():
    order = []
    calls = {name: (lambda name=name: order.append(name) or sum(range(2_000_000))) for name in "ab"}
    samples = alternate(calls, runs=2, patience=100)
    assert order == ["a", "b", "a", "b", "b", "a"]  # once each before, then there and back
    assert {name: len(times) for name, times in samples.items()} == {"a": 2, "b": 2}
    order.clear()
    samples = alternate(calls, runs=5, patience=0)
    assert order == ["a", "b"]
    assert {name: len(times) for name, times in samples.items()} == {"a": 1, "b": 1}


def row(contestant, samples, **more):
    given = {"backend": "torch", "workload": "W1", "cell": "gru", "measure": "training", "status": "ok"}
    return Row(contestant=contestant, samples=samples, **{**given, **more})


def report(*rows):
    return Report(
        {"cpu": "x", "cores": 2, "threads": 2, "system": "s", "python": "3"},
        {"scale": 1, "runs": 3},
        WORKLOADS,
        [*rows],
    )


def test_ratios_are_medians_over_rounds():
    ours, floor = row("convgru", (2.0, 30.0, 4.0)), row("floor", (1.0, 10.0, 4.0))
    plain, keras = row("plain loop", (8.0, 8.0, 8.0), saved_bytes=10), row("keras", (3.0, 3.0))
    made = report(ours, floor, plain, keras, row("convgru", (1.0,), backend="jax"))
    assert made.ratio(ours, "floor") == 2.0
    assert made.best_rival(ours) == "keras"
    assert made.ratio(ours, "keras") == pytest.approx((2 / 3 + 30 / 3) / 2)
    assert made.to_torch(made.rows[-1]) == 1 / 8
    assert [line.split(": ")[0] for line in tables.losses(made)] == ["torch W1 gru training"]
    assert made.ok


@pytest.mark.parametrize(
    ("status", "ok"), [("out of memory", True), ("skipped", True), ("failed", False), ("wrong numbers", False)]
)
def test_what_makes_a_run_fail(status, ok):
    made = report(row("convgru", (1.0,)), row("plain loop", (), status=status, reason="because"))
    assert made.ok == ok
    assert "because" in tables.markdown(made)
    assert not report(row("convgru", (), status="out of memory")).ok  # nothing was timed


def test_a_picture_shows_who_was_timed(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    made = report(row("convgru", (2.0, 3.0)), row("plain loop", (3.0,)), row("floor", (1.0,)), row("keras", ()))
    plot.draw(made, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileExistsError):
        plot.draw(made, tmp_path / "a.png")


def test_a_picture_without_matplotlib_is_refused_before_the_run(bare_cli):
    result = bare_cli("bench", "--plot", "a.png", blocked=("matplotlib",))
    assert_fails(result, "--plot needs matplotlib: pip install 'convgru[demo]'")


def test_the_page_keeps_its_text_around_the_tables():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "performance_page.py"
    module: dict[str, Any] = runpy.run_path(str(path))
    page = (path.parents[1] / "docs" / "performance.md").read_text(encoding="utf-8")
    once = module["replaced"](page, report(row("convgru", (2.0,)), row("floor", (1.0,))))
    assert "| W1 gru | training | 2000 |" in once
    assert module["replaced"](once, report()).count("### ") == 1
    assert once.partition(module["BEGIN"])[0] == page.partition(module["BEGIN"])[0]
    assert once.partition(module["END"])[2] == page.partition(module["END"])[2]
    both = module["joined"]([report(row("convgru", (2.0,))), report(row("convgru", (1.0,), backend="jax"))])
    assert [r.backend for r in both.rows] == ["torch", "jax"]


def test_a_report_reads_back():
    made = report(row("convgru", (2.0, 3.0), saved_bytes=5), row("floor", (1.0, 1.0)))
    again = Report.from_json(made.to_json())
    assert (again.rows, again.workloads) == (made.rows, made.workloads)
    assert again.to_json() == made.to_json()
    with pytest.raises(ValueError, match="expected the JSON of convgru bench"):
        Report.from_json('{"format": 0}')


def decline():
    raise UnsupportedError("not this one")


def test_a_contestant_with_other_numbers_is_found_and_not_timed():
    contest = Contest("numpy", WORKLOADS["S1"].within(1e5), "gru")
    right = np.ones(3)
    numbers = {
        "convgru": right,
        "same": right + 1e-6,
        "wrong": right * 1.01,
        "other shape": np.ones(4),
        "nan": right * np.nan,
    }
    for name, array in numbers.items():
        contest.enter(name, lambda array=array: Entry(lambda: array, arrays=lambda out, _: {"output": out}))
    contest.enter("nothing to compare", lambda: Entry(lambda: right, arrays=lambda out, _: {"y": out}))
    contest.enter("raises", lambda: Entry(lambda: [][1]))
    contest.enter("declines", lambda: Entry(decline))
    contest.enter("no memory", lambda: Entry(lambda: np.empty(1 << 45)))
    events = []
    worker._compete(contest, 1, 1.0, lambda **event: events.append(event))
    status = {event["contestant"]: event["status"] for event in events if event["event"] == "row"}
    assert status == {
        "convgru": "ok", "same": "ok", "wrong": "wrong numbers", "other shape": "wrong numbers", "nan": "wrong numbers",
        "nothing to compare": "wrong numbers", "raises": "failed", "declines": "skipped", "no memory": "out of memory",
    }  # fmt: skip


def test_who_ends_the_process_is_left_out_the_next_time(monkeypatch):
    tasks = []

    def process(task):
        tasks.append(task["without"])
        outcome = session._Outcome(at=("plain loop", "training"))
        if "plain loop" not in task["without"]:
            outcome.failure, outcome.out_of_memory = "the process was killed", True
        else:
            outcome.rows = [{"contestant": "convgru", "measure": "training", "status": "ok", "samples": [1.0]}]
        return outcome

    monkeypatch.setattr(session, "_process", process)
    rows = [*session._contest(Settings(memory=False), "torch", WORKLOADS["S1"], "gru", {})]
    assert tasks == [[], ["plain loop"]]
    assert [(r.contestant, r.status) for r in rows] == [("plain loop", "out of memory"), ("convgru", "ok")]


def test_a_process_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(session, "LONGEST", 0.01)
    (failed,) = session._contest(Settings(memory=False), "numpy", WORKLOADS["S1"], "gru", {})
    assert (failed.status, failed.reason) == ("failed", "no end after 0.01 seconds")


@pytest.mark.parametrize(("workload", "cell"), [("W1", "lstm"), ("W4", "gru"), ("R", "gru"), ("L", "lstm")])
def test_numpy_takes_part_in_every_workload(workload, cell):
    rows, _ = contest_rows("numpy", workload, cell)
    assert {key: r["status"] for key, r in rows.items()} == dict.fromkeys(
        ((name, "forward") for name in ("convgru", "float64 reference", "floor")), "ok"
    )
    assert 0 < rows["float64 reference", "forward"]["error"] < 1e-5


def test_the_command_without_frameworks(bare_cli, tmp_path):
    (tmp_path / "there.csv").write_text("mine")
    kept = bare_cli(*COMMAND, "--csv", "there.csv")
    assert_fails(kept, "there.csv exists: --force replaces it")
    assert (tmp_path / "there.csv").read_text() == "mine"
    options = ("--workloads", "S1", "--csv", "there.csv", "--force", "--output", "out.json", "--impl", "fast")
    done = bare_cli(*COMMAND, *options, "--json")
    assert done.returncode == 0, done.stderr
    given = json.loads(done.stdout)
    assert given == json.loads((tmp_path / "out.json").read_text())
    assert {
        "format",
        "convgru",
        "ok",
        "failures",
        "machine",
        "settings",
        "versions",
        "absent",
        "workloads",
        "rows",
    } == given.keys()
    ours = given["rows"][0]
    assert {name: type(value) for name, value in ours.items()} == ROW
    assert (ours["contestant"], ours["runs"], given["workloads"]["S1"]["time"]) == ("convgru", 2, 4)
    assert {r["status"] for r in given["rows"]} == {"ok", "skipped"}  # NumPy has no impl
    lines = [*csv.DictReader((tmp_path / "there.csv").open())]
    assert [line["contestant"] for line in lines] == [r["contestant"] for r in given["rows"]]


def test_a_workload_that_does_not_fit_is_a_row(bare_cli):
    done = bare_cli(
        *COMMAND, "--workloads", "W2", "--scale", "0.01", "--memory-limit", "1", "--rivals", "floor", "--json"
    )
    rows = json.loads(done.stdout)["rows"]
    assert {r["status"] for r in rows} == {"out of memory"}, rows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--workloads", "W9"), "expected some of W1,W2"),
        (("--scale", "2"), "expected a number above 0 and at most 1, got '2'"),
        (("--variant", "lean"), "expected NAME=VALUE"),
        (("--runs", "0"), "expected a positive number"),
    ],
)
def test_bad_usage(bare_cli, options, said):
    result = bare_cli("bench", *options)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_backend_that_is_not_installed(bare_cli):
    assert_fails(bare_cli("bench", "--backends", "torch"), "pip install 'convgru[torch]'")
