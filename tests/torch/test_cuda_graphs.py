"""CUDA graphs: what is kept, lent and forgotten, with a recorder that calls the function again."""

import copy

import pytest
import torch

from convgru.errors import UnsupportedError
from convgru.spec.shapes import state_leaves
from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, Forecaster
from convgru_torch import graphs, sequence_plan

NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 2], **o),
    "gru-after, 1-D": lambda **o: ConvGRU(2, 3, ndim=1, reset="after", **o),
    "lstm": lambda **o: ConvLSTM(2, 3, peephole="hadamard", bidirectional=True, **o),
    "rnn": lambda **o: ConvRNN(2, 3, **o),
}


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    """Record on the CPU: what is run again writes into the memory of the first results."""
    recorded = []

    def capture(function):
        results = tuple(None if a is None else a.clone() for a in function())
        recorded.append(function)

        def replay():
            for kept, new in zip(results, function(), strict=True):
                if kept is not None:
                    kept.copy_(new)

        for a in results:
            if a is not None:
                a.fill_(float("nan"))  # a recording computes nothing yet
        return results, replay

    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(sequence_plan, "FORCED", True)
    graphs.forget()
    yield recorded
    graphs.forget()


def pair(name, **options):
    """A network with graphs, and the readable one with the same weights."""
    net = NETS[name](dtype=torch.float64, cuda_graphs=True, **options)
    return net, copy.deepcopy(net).set_execution(cuda_graphs=False, impl="readable")


def frames(net, time=3, batch=2):
    return torch.randn(time, batch, 2, *(5, 4)[: net.spec.ndim], dtype=torch.float64, requires_grad=True)


def results(net, x, **call):
    y, final = net(x, **call)
    leaves = [leaf for _, leaf in state_leaves(net.spec, final)]
    total = y.square().sum() + sum(leaf.sum() for leaf in leaves)
    return [y, *leaves, *torch.autograd.grad(total, [x, *net.parameters()])]


@pytest.mark.parametrize("memory", ["full", "lean"])
@pytest.mark.parametrize("name", NETS)
def test_it_changes_nothing(name, memory, recorder):
    """Recorded once, forward and back; then numbers, parameters and lengths may change."""
    net, readable = pair(name, memory=memory)
    count = 0
    for step in range(3):
        x, lengths = frames(net), [3, 1 + step % 2]
        torch.testing.assert_close(results(net, x, lengths=lengths), results(readable, x, lengths=lengths))
        count = len(recorder) if step == 0 else count
        assert len(recorder) == count == 2 * len(list(net.layers)) * len(net.spec.directions)
        with torch.no_grad():
            for one, other in zip(net.parameters(), readable.parameters(), strict=True):
                other.copy_(one.add_(0.1))
    with torch.no_grad():
        x = frames(net)
        for call in ({}, {"last_only": True}, {"lengths": [2, 3], "last_only": True}):
            torch.testing.assert_close(net(x, **call), readable(x, **call))
    with torch.inference_mode():
        torch.testing.assert_close(net(x)[0], readable(x)[0])


def test_parameters_that_are_replaced(recorder):
    net, readable = pair("gru")
    x = frames(net)
    results(net, x)
    count = len(recorder)
    fresh, _ = pair("gru")
    for each in (net, readable):
        each.load_state_dict(fresh.state_dict(), assign=True)
    torch.testing.assert_close(results(net, x), results(readable, x))
    assert len(recorder) == count


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


def test_results_are_the_callers(recorder):
    net, _ = pair("rnn")
    x = frames(net)
    with torch.no_grad():
        y, (h,) = net(x)
        kept = y.clone(), h.clone()
        net(x + 1)
        torch.testing.assert_close((y, h), kept, rtol=0, atol=0)
    first = torch.autograd.grad(net(x)[0].sum(), list(net.parameters()))
    kept = [grad.clone() for grad in first]
    torch.autograd.grad(net(x + 1)[0].sum(), list(net.parameters()))
    torch.testing.assert_close(list(first), kept, rtol=0, atol=0)


def test_shapes_and_settings_have_recordings_of_their_own(recorder, monkeypatch):
    net, _ = pair("rnn")
    monkeypatch.setattr(graphs, "LIMIT", 3)
    with torch.no_grad():
        for time in range(1, 7):
            net(frames(net, time))
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


def test_derivatives_of_derivatives_and_changes_in_place(recorder):
    net, readable = pair("gru")
    x = frames(net)
    for each in (net, readable):
        (grad,) = torch.autograd.grad(each(x)[0].square().sum(), x, create_graph=True)
        each.second = torch.autograd.grad(grad.square().sum(), x)[0]
    torch.testing.assert_close(net.second, readable.second)
    y, _ = net(x)
    with torch.no_grad():
        net.layers[0]["fwd"].weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_autocast_and_hooks(recorder):
    """Under autocast the cast weights are copied in; hooks of a layer run around the recording."""
    net, calls = ConvGRU(2, 3, cuda_graphs=True), []
    net.layers[0]["fwd"].register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(3, 2, 2, 5, 4, requires_grad=True)
    want = results(net, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = results(net, x)
    for a, b in zip(got, want, strict=True):
        assert 0 < (a - b).abs().max() / b.abs().max() < 0.1
    assert calls == [1, 1]
    assert len(recorder) == 4


def test_what_cannot_be_recorded(monkeypatch):
    x = torch.randn(3, 2, 2, 5, 4)
    with pytest.raises(UnsupportedError, match="cuda_graphs=True can record, but the layer has a norm"):
        ConvGRU(2, 3, norm=1, cuda_graphs=True)(x)
    with pytest.raises(ValueError, match="cuda_graphs=True expected impl='auto' or 'fast'"):
        ConvGRU(2, 3, impl="readable", cuda_graphs=True)
    with pytest.raises(ValueError, match="cuda_graphs expected True or False, got 'yes'"):
        ConvGRU(2, 3, cuda_graphs="yes")
    monkeypatch.setattr(sequence_plan, "FORCED", False)
    for make in (lambda: ConvGRU(2, 3, cuda_graphs=True), lambda: ConvLSTM(2, 3, cuda_graphs=True)):
        with pytest.raises(UnsupportedError, match="its tensors are on 'cpu', not on CUDA"):
            make()(x)
    with pytest.raises(UnsupportedError, match="not on CUDA"):
        Forecaster("gru", 2, 3, cuda_graphs=True)(x, 2)
