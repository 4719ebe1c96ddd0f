"""CUDA graphs: the same numbers, and what cannot be recorded, with a recorder on the CPU."""

import pytest
import torch
from support.recorded import NETS, frames, pair, record_on_cpu, results

from convgru.errors import UnsupportedError
from convgru.torch import ConvGRU, ConvLSTM, Forecaster
from convgru_torch import graphs, sequence_plan


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    """What was recorded, on the CPU."""
    graphs.forget()
    yield record_on_cpu(monkeypatch)
    graphs.forget()


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


def test_a_batch_of_gradients(recorder):
    """No recording has an axis more than its cotangents: the readable way gives them."""
    net, _ = pair("gru")
    x = frames(net).requires_grad_()
    y, _ = net(x)
    cotangents = torch.randn(3, *y.shape, dtype=y.dtype)
    each = [torch.autograd.grad(y, x, v, retain_graph=True)[0] for v in cotangents]
    (batch,) = torch.autograd.grad(y, x, cotangents, is_grads_batched=True, retain_graph=True)
    torch.testing.assert_close(batch, torch.stack(each))


def test_winograd_is_for_cpus(recorder):
    """On an accelerator it drops neither the recordings nor the fast implementation."""
    net = ConvGRU(128, 128, algorithm="winograd", cuda_graphs=True)
    assert choice(net) == ("fast", "")
    assert len(recorder) == 1
    assert choice(net.set_execution(cuda_graphs=False)) == ("fast", "")
    assert choice(net.set_execution(impl="fast")) == ("fast", "")


def choice(net):
    with torch.no_grad():
        net(torch.randn(1, 1, 128, 8, 8))
    return net.layers[0]["fwd"].ran


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
    for value in ("yes", 1, None):
        with pytest.raises(TypeError, match=f"cuda_graphs expected True or False, got {value!r}"):
            ConvGRU(2, 3, cuda_graphs=value)
    with pytest.raises(ValueError, match="cuda_graphs=True expected checkpoint_frames=None, got 2"):
        ConvGRU(2, 3, cuda_graphs=True).set_execution(checkpoint_frames=2)
    monkeypatch.setattr(sequence_plan, "FORCED", False)
    for make in (lambda: ConvGRU(2, 3, cuda_graphs=True), lambda: ConvLSTM(2, 3, cuda_graphs=True)):
        with pytest.raises(UnsupportedError, match="its tensors are on 'cpu', not on CUDA"):
            make()(x)
    with pytest.raises(UnsupportedError, match="not on CUDA"):
        Forecaster("gru", 2, 3, cuda_graphs=True)(x, 2)
