"""PyTorch's part of ``convgru bench``: everybody computes the same, and the measures are right."""

from __future__ import annotations

import pytest
import torch
from support import contest_rows
from torch import nn

from convgru_torch import bench, bench_cuda, bench_floor


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


class Overwriting(nn.Module):
    """Each call spoils the results of the one before, as CUDA graphs of torch.compile do."""

    def __init__(self, net):
        super().__init__()
        self.net, self.last = net, None

    def forward(self, x, state=None):
        if self.last is not None:
            self.last.fill_(float("nan"))
        y, final = self.net(x, state)
        self.last = y.detach()
        return y, final


@pytest.mark.parametrize(("overwritten", "status"), [(True, "ok"), (False, "wrong numbers")])
def test_results_that_the_next_call_overwrites(overwritten, status, monkeypatch):
    entry = bench._entry
    monkeypatch.setattr(
        bench,
        "_entry",
        lambda contest, net, gradients: (
            entry(contest, Overwriting(net), gradients, overwritten)
            if isinstance(net, bench.PlainLoop)
            else entry(contest, net, gradients)
        ),
    )
    rows, _ = contest_rows("torch", "S1", "gru", only=["convgru", "plain loop"])
    assert rows["plain loop", "training"]["status"] == status


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


class FakeCuda:
    """Events of which each ends so many milliseconds after it began, one call after the other."""

    def __init__(self, *milliseconds):
        self.left, self.log = list(milliseconds), []

    def Event(self, enable_timing):
        cuda = self

        class Event:
            def record(self):
                cuda.log.append("record")

            def elapsed_time(self, end):
                return cuda.left.pop(0)

        return Event()

    def synchronize(self):
        self.log.append("wait")

    def reset_peak_memory_stats(self):
        self.log.append("reset")

    def memory_allocated(self):
        return 100

    def max_memory_allocated(self):
        return 350


def test_a_gpu_is_timed_by_its_events(monkeypatch):
    """The cache is flushed and the GPU waited for before the first event; the median counts."""
    monkeypatch.setattr(bench_cuda, "FLUSHED", 16)
    cuda = FakeCuda(5.0, 1.0, 2.0)
    assert bench_cuda.sampler(cuda)(lambda: cuda.log.append("call"), 3) == 2e-3
    assert cuda.log == ["wait", "record", "call", "record", "wait"] * 3
    calls = {"forward": lambda: cuda.log.append("forward"), "training": None}
    assert bench_cuda.peak(calls, cuda)("forward") == 250
    assert cuda.log[-4:] == ["wait", "reset", "forward", "wait"]


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
@pytest.mark.parametrize(("workload", "cell"), [("W2", "lstm"), ("R", "gru"), ("L", "gru")])
def test_other_precisions(workload, cell, precision, settings):
    """All compute the same, in their precision, and the report has what the rate is a part of."""
    rows, _ = contest_rows("torch", workload, cell, without=["keras"], precision=precision)
    assert {row["status"] for row in rows.values()} == {"ok"}
    error = rows["plain loop", "forward"]["error"]
    assert (error > 1e-4) == (precision == "bfloat16")


@pytest.fixture
def settings():
    """What the bench sets in torch is set back."""
    holders = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)
    before = [holder.fp32_precision for holder in holders], torch.backends.cudnn.benchmark
    yield
    for holder, value in zip(holders, before[0], strict=True):
        holder.fp32_precision = value
    torch.backends.cudnn.benchmark = before[1]


def test_without_a_gpu(settings):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="sees no CUDA device"):
        bench_cuda.place("cuda", "float32")
