"""``convgru bench`` when something fails: who is blamed, and results that are not lost."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from convgru import cli
from convgru.bench import WORKLOADS, Report, Row, Settings, session, worker
from convgru.bench.contest import Contest, Entry
from convgru.cli import bench as command
from convgru.cli import commands


def test_who_is_at_work_when_the_process_ends_is_told():
    """In the rounds that are timed too, and not who was entered last."""
    contest, calls, events = Contest("numpy", WORKLOADS["S1"].within(1e5), "gru"), [], []

    def end_at_the_third_call():
        calls.append(1)
        if len(calls) == 3:
            raise SystemExit("out of memory")

    contest.enter("plain loop", lambda: Entry(end_at_the_third_call))
    contest.enter("floor", lambda: Entry(lambda: None))
    with pytest.raises(SystemExit):
        worker._compete(contest, 3, 1.0, lambda **event: events.append(event))
    assert events[-1] == {"event": "begin", "contestant": "plain loop", "measure": "forward"}


def test_half_a_line_of_a_process_that_was_killed_is_left_out(monkeypatch):
    code = "import sys; open(sys.argv[2], 'w').write(sys.argv[1]); sys.exit(1)"
    whole = json.dumps({"event": "begin", "contestant": "floor", "measure": "forward"})
    popen = subprocess.Popen

    def start(parts, **options):
        return popen([parts[0], "-c", code, whole + '\n{"event": "row", "sam', parts[-1]], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    outcome = session._process({"threads": None, "memory_limit": None})
    assert outcome.at == ("floor", "forward")
    assert outcome.failure == "exit code 1: it said nothing"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rivals": ("kerras",)}, "bench rivals expected some of plain loop, .*, got kerras"),
        ({"cells": ("rnn",)}, "bench cells expected some of gru, lstm, got rnn"),
    ],
)
def test_names_that_nothing_is_called(given, message):
    with pytest.raises(ValueError, match=message):
        session.run(Settings(backends=("numpy",), **given))


def test_results_are_printed_before_a_file_fails(tmp_path, monkeypatch, capsys):
    """A disk that is full at the end of a long run costs the file, not the numbers."""
    row = Row("torch", "W1", "gru", "convgru", "forward", "ok", samples=(2.0,))
    made = Report({}, {}, WORKLOADS, [row])
    monkeypatch.setattr(command.bench, "run", lambda *_: made)
    target = tmp_path / "rows.csv"
    args = cli._parser().parse_args(["bench", "--json", "--csv", str(target)])
    target.write_text("somebody else's")
    with pytest.raises(FileExistsError, match=r"rows\.csv exists"):
        commands.bench(args)
    assert json.loads(capsys.readouterr().out)["rows"][0]["contestant"] == "convgru"
    assert target.read_text() == "somebody else's"


@pytest.mark.parametrize("spoilt", ["output", "bias"])
def test_what_is_no_number_is_the_largest_difference(spoilt):
    """Whichever array is compared after it."""
    want = {name: np.ones(2) for name in ("output", "bias")}
    assert worker.difference(want, want) == 0
    assert np.isnan(worker.difference(want | {spoilt: np.array([1.0, np.nan])}, want))
