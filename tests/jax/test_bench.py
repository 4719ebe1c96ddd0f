"""JAX's part of ``convgru bench``: everybody computes the same, and options are variants."""

from __future__ import annotations

import pytest
from support import contest_rows

from convgru.bench.contest import Contest
from convgru_jax import bench


@pytest.mark.parametrize(("workload", "cell"), [("S1", "gru"), ("L", "gru")])
def test_every_contestant_computes_the_same(workload, cell):
    variants = {"convgru method=plain": {"method": "plain"}, "convgru method=x": {"method": "x"}}
    variants = variants if workload == "L" else {}
    rows, skipped = contest_rows("jax", workload, cell, without=["keras"], variants=variants)
    measures = ("forward",) if workload == "L" else ("forward", "training")
    names = ("convgru", "plain loop", "floor", *[*variants][:1])
    assert {key: row["status"] for key, row in rows.items()} == {(n, m): "ok" for n in names for m in measures}
    assert 0 < rows["plain loop", "forward"]["error"] < 1e-4
    assert [*skipped] == [*variants][1:]
    if workload != "L":
        assert rows["plain loop", "training"]["saved_bytes"] > 0
        assert rows["convgru", "training"]["peak_bytes"] > 0


def test_a_rival_with_its_gates_in_another_order_is_found(monkeypatch):
    joined = Contest.joined

    def swapped(contest):
        return [{name: a[::-1].copy() for name, a in layer.items()} for layer in joined(contest)]

    monkeypatch.setattr(Contest, "joined", swapped)
    rows, _ = contest_rows("jax", "L", "lstm", only=["convgru", "plain loop"])
    assert rows["plain loop", "forward"]["status"] == "wrong numbers"


def test_a_program_is_compiled_once():
    traced = []
    program = bench.Program(lambda x: traced.append(1) or 2 * x, 3.0)
    assert (float(program()), float(program(4.0)), len(traced)) == (6.0, 8.0, 1)
