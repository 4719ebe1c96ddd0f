"""CUDA graphs: what is kept, lent, given back and shared, with a recorder on the CPU."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest
import torch
from support.recorded import frames, pair, record_on_cpu, results
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from convgru_torch import graphs

CAPTURE = graphs.capture


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    """What was recorded, on the CPU."""
    graphs.forget()
    yield record_on_cpu(monkeypatch)
    graphs.forget()


def test_two_calls_before_their_gradients(recorder):
    """Each has memory of its own until its gradient has been taken, and then it serves others."""
    net, readable = pair("lstm")
    one, other = frames(net), frames(net)
    loss = net(one)[0].square().sum() + net(other)[0].square().sum()
    want = readable(one)[0].square().sum() + readable(other)[0].square().sum()
    parameters = [list(each.parameters()) for each in (net, readable)]
    again = torch.autograd.grad(loss, [one, other, *parameters[0]], retain_graph=True)
    torch.testing.assert_close(again, torch.autograd.grad(want, [one, other, *parameters[1]]))
    count = len(recorder)
    y, _ = net(other)
    assert len(recorder) == count + 2  # the graph is retained: its memory is not free
    torch.testing.assert_close(torch.autograd.grad(loss, parameters[0]), again[2:])
    del loss, y
    results(net, one)
    assert len(recorder) <= count + 4
    total = graphs.count()
    for _ in range(3):
        results(net, one)
    assert graphs.count() == total


def kept_back():
    """How many recordings are lent."""
    return sum(not each.free for found in graphs._kept.values() for each in found)


def test_a_loss_that_is_kept(recorder):
    """Backward gives the memory back, whoever keeps the graph, unless it is retained."""
    net, _ = pair("gru")
    x, losses, layers = frames(net), [], len(list(net.layers))
    for _ in range(4):
        losses.append(net(x)[0].square().sum())
        losses[-1].backward()
        assert (kept_back(), graphs.count()) == (0, layers)
    losses.append(net(x)[0].square().sum())
    losses[-1].backward(retain_graph=True)
    assert kept_back() == layers
    losses[-1].backward()
    assert kept_back() == 0


HOOKS = {
    "none": lambda net, x: net(x)[0],
    "the same tensors": lambda net, x: within(saved_tensors_hooks(lambda a: a, lambda a: a), net, x),
    "copies": lambda net, x: within(saved_tensors_hooks(torch.clone, lambda a: a), net, x),
    "save_on_cpu, which copies nothing here": lambda net, x: within(save_on_cpu(), net, x),
    "checkpoint": lambda net, x: checkpoint(lambda x: net(x)[0], x, use_reentrant=False),
    "checkpoint, reentrant": lambda net, x: checkpoint(lambda x: net(x)[0], x, use_reentrant=True),
}


def within(context, net, x):
    with context:
        return net(x)[0]


@pytest.mark.parametrize("hooks", HOOKS)
def test_hooks_of_saved_tensors(hooks, recorder):
    """Where they free what is lent, another call may write there: the forward pass runs again."""
    net, readable = pair("lstm")
    xs = [frames(net) for _ in range(3)]
    got = [HOOKS[hooks](net, x) for x in xs]
    assert (kept_back() == 0) == (hooks in {"copies", "checkpoint", "checkpoint, reentrant"})
    loss, want = (sum(y.square().sum() for y in ys) for ys in (got, [readable(x)[0] for x in xs]))
    grads = [torch.autograd.grad(want, [*xs, *readable.parameters()])]
    loss.backward(retain_graph=True)
    grads.append([a.grad for a in (*xs, *net.parameters())])
    torch.testing.assert_close(*map(list, grads))
    loss.backward()
    torch.testing.assert_close([a.grad for a in xs], [2 * a for a in grads[0][:3]])
    assert kept_back() == 0


@pytest.mark.parametrize("gradients", [False, True])
def test_threads_share_recordings(gradients, recorder, monkeypatch):
    """One at a time finds a recording, runs it and copies its results, forward and back."""
    net, _ = pair("rnn")
    xs, run = [frames(net) for _ in range(3)], graphs.Recording.__call__

    def call(x):
        with torch.set_grad_enabled(gradients):
            return results(net, x) if gradients else net(x)[0]

    def slow(self, given):
        found = run(self, given)
        time.sleep(0.005)  # in which another thread would write over it
        return found

    want = [call(x) for x in xs]
    monkeypatch.setattr(graphs.Recording, "__call__", slow)
    with ThreadPoolExecutor(len(xs)) as threads:
        for _ in range(2):
            torch.testing.assert_close(list(threads.map(call, xs)), want, rtol=0, atol=0)


def test_shapes_and_settings_have_recordings_of_their_own(recorder, monkeypatch):
    net, _ = pair("rnn")
    monkeypatch.setattr(graphs, "LIMIT", 3)
    with torch.no_grad():
        for length in range(1, 7):
            net(frames(net, length))
            assert graphs.count() <= 3
        count = len(recorder)
        net(frames(net, 6))
        assert len(recorder) == count == 6
        before = torch.backends.cudnn.deterministic
        monkeypatch.setattr(torch.backends.cudnn, "deterministic", not before)
        net(frames(net, 6))
        assert len(recorder) == 7
        net(frames(net, 1))  # forgotten
        assert len(recorder) == 8
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
        net(frames(net, 1))
        assert len(recorder) == 9


def test_the_limit_drops_what_is_free_first(recorder, monkeypatch):
    net, _ = pair("rnn")
    monkeypatch.setattr(graphs, "LIMIT", 3)
    y, _ = net(frames(net, 1))
    with torch.no_grad():
        for length in (2, 3, 4):
            net(frames(net, length))
    assert (kept_back(), graphs.count()) == (1, 3)
    more = [net(frames(net, length))[0] for length in (5, 6, 7)]
    assert (kept_back(), graphs.count()) == (3, 3)
    (y.sum() + sum(a.sum() for a in more)).backward()  # one of them is no longer kept
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_recording_that_fails_leaves_nothing(monkeypatch):
    net, _ = pair("rnn")
    with monkeypatch.context() as without:
        without.setattr(graphs, "capture", lambda function: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            net(frames(net))
    assert graphs._kept == {}
    net(frames(net))


def test_it_is_recorded_on_a_stream_of_its_device(monkeypatch):
    """Without one torch takes a stream that it keeps, of the device that came first."""
    streams, begun = [], []

    def stream():
        streams.append(MagicMock())
        return streams[-1]

    def graph(recorded, **options):
        begun.append(options)
        return nullcontext()

    for name, fake in {"Stream": stream, "graph": graph}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for name in ("current_stream", "stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    for _ in range(2):
        CAPTURE(lambda: (None,))
        assert begun[-1]["stream"] is streams[-1]
    assert len(streams) == 2
