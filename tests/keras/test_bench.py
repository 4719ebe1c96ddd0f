"""Keras' layers as a rival in ``convgru bench``: outputs and gradients are convgru's."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported; nothing else in this environment uses it

import pytest
from support import contest_rows


@pytest.mark.parametrize("workload", ["W1", "W4"])
def test_keras_computes_the_same(workload):
    rows, skipped = contest_rows("torch", workload, "lstm", only=["convgru", "keras"])
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert 0 < rows["keras", "training"]["error"] < 1e-4
    assert not skipped


def test_it_has_no_gru():
    rows, skipped = contest_rows("torch", "S1", "gru", only=["convgru", "keras"])
    assert {name for name, _ in rows} == {"convgru"}
    assert "no ConvGRU" in skipped["keras"]
