"""MindSpore's part of ``convgru bench``: ours and the plain loop compute the same in graph mode."""

from __future__ import annotations

import pytest
from support import contest_rows


@pytest.mark.usefixtures("graph")
@pytest.mark.parametrize(("workload", "cell"), [("R", "gru"), ("L", "lstm")])
def test_every_contestant_computes_the_same(workload, cell):
    rows, skipped = contest_rows("mindspore", workload, cell)
    measures = ("forward",) if workload == "L" else ("forward", "training")
    names = ("convgru", "plain loop", "floor")
    assert {key: row["status"] for key, row in rows.items()} == {(n, m): "ok" for n in names for m in measures}
    assert 0 < rows["plain loop", measures[-1]]["error"] < 1e-3  # its tanh is MindSpore's own
    assert not skipped
