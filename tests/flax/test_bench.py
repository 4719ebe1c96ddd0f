"""Flax's part of ``convgru bench``: our module, linen's nn.RNN and the rest compute the same."""

from __future__ import annotations

import pytest
from support import contest_rows


@pytest.mark.parametrize(("workload", "cell"), [("S1", "lstm"), ("L", "gru")])
def test_every_contestant_computes_the_same(workload, cell):
    names = {"convgru", "linen"} if cell == "lstm" else {"convgru", "plain loop", "floor"}
    rows, skipped = contest_rows("flax", workload, cell, only=[*names, "linen"])
    measures = ("forward",) if workload == "L" else ("forward", "training")
    assert {key: row["status"] for key, row in rows.items()} == {(n, m): "ok" for n in names for m in measures}
    assert all(0 < rows[name, "forward"]["error"] < 1e-4 for name in names - {"convgru", "floor"})
    assert [*skipped] == ([] if cell == "lstm" else ["linen"])
