"""PyTorch's part of ``convgru bench``: everybody computes the same, and the measures are right."""

from __future__ import annotations

import pytest
import torch
from support import contest_rows
from torch import nn

from convgru_torch import bench, bench_floor


@pytest.mark.parametrize(
    ("workload", "cell"), [("W1", "gru"), ("W1", "lstm"), ("W4", "lstm"), ("R", "gru"), ("L", "gru"), ("L", "lstm")]
)
def test_every_contestant_computes_the_same(workload, cell):
    rows, skipped = contest_rows("torch", workload, cell, without=["keras"])
    measures = ("forward",) if workload == "L" else ("forward", "training")
    names = ("convgru", "plain loop", "floor")
    assert {key: row["status"] for key, row in rows.items()} == {(n, m): "ok" for n in names for m in measures}
    assert 0 < rows["plain loop", "forward"]["error"] < 1e-4
    assert not skipped
    if workload != "L":
        assert rows["plain loop", "training"]["saved_bytes"] > 0


def test_a_rival_with_its_gates_in_another_order_is_found(monkeypatch):
    right = bench.PlainLoop.__init__

    def swapped(self, spec, layers):
        right(self, spec, [{name: a[::-1].copy() for name, a in layer.items()} for layer in layers])

    monkeypatch.setattr(bench.PlainLoop, "__init__", swapped)
    rows, _ = contest_rows("torch", "S1", "lstm", only=["convgru", "plain loop"])
    assert rows["plain loop", "training"]["status"] == "wrong numbers"


def test_options_of_the_network_are_variants_and_unknown_ones_say_so():
    variants = {"convgru batch_first=False": {"batch_first": False}, "convgru nonsense=1": {"nonsense": 1}}
    rows, skipped = contest_rows("torch", "S1", "gru", only=["convgru", *variants], variants=variants)
    assert rows["convgru batch_first=False", "training"]["status"] == "ok"
    assert "nonsense" in skipped["convgru nonsense=1"]


def test_saved_bytes_are_those_of_the_graph():
    """A linear layer keeps its input, which is not counted; the sigmoid after it its result."""
    net, x = nn.Linear(3, 5), torch.randn(7, 3)
    assert bench.saved_bytes(net, lambda: torch.sigmoid(net(x)), (x,)) == 7 * 5 * 4


def test_the_floor_convolves_every_frame_of_every_layer(monkeypatch):
    """W2 scaled: two layers, T frames, an input convolution in chunks, r and z, and n."""
    calls = []
    monkeypatch.setattr(bench_floor, "_convolve", lambda layer, image, kernel: calls.append(len(image)) or image)
    rows, _ = contest_rows("torch", "W2", "gru", only=["floor"])
    assert rows["floor", "training"]["status"] == "ok"
    frames = 4 * 3 * 2  # T, convolutions of a step, layers: the input's over all frames counts as T
    assert calls
    assert sum(calls) % frames == 0
