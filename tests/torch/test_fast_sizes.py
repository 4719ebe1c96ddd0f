"""The fast sequence function on large images, one sample, odd strides: oneDNN's other kernels."""

import pytest
import torch
from torch.testing import assert_close

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN
from convgru_torch.sequence_ops import HUGE, LARGE, SMALL, tanh

CELLS = {"gru": ConvGRU, "gru-after": lambda *a: ConvGRU(*a, reset="after"), "lstm": ConvLSTM, "rnn": ConvRNN}


def results(net, impl, x, state, cotangent):
    """Output and final state without gradients, output, and gradients of all parameters."""
    net.set_execution(impl=impl)
    with torch.no_grad():
        plain, final = net(x, state)
    net.zero_grad()
    y, _ = net(x, state)
    y.backward(cotangent)
    return plain, final, y.detach(), [parameter.grad.clone() for parameter in net.parameters()]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("hidden", [16, 64])
@pytest.mark.parametrize("name", CELLS)
def test_large_images(name, hidden, batch):
    """As W3 of the benchmark is: one sample, one channel, many pixels."""
    torch.manual_seed(0)
    net = CELLS[name](1, hidden, 3)
    x = torch.randn(2, batch, 1, 120, 140)
    # Views whose axis of one sample has any stride.
    state = net(torch.randn(1, batch, 1, 120, 140))[1]
    state = tuple(
        tuple(p.detach()[None].expand(3, -1, -1, -1, -1).contiguous()[1] for p in entry)
        if isinstance(entry, tuple)
        else entry.detach()[None].expand(3, -1, -1, -1, -1).contiguous()[1]
        for entry in state
    )
    cotangent = torch.randn(2, batch, hidden, 120, 140)
    fast, readable = (results(net, impl, x, state, cotangent) for impl in ("fast", "readable"))
    assert_close(fast[:3], readable[:3], rtol=1e-5, atol=1e-5)
    for a, b in zip(fast[3], readable[3], strict=True):
        assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))


@pytest.mark.parametrize("size", [(1, 90000), (300, 300), (90000, 1)])
def test_images_of_one_row(size):
    net, x = ConvLSTM(3, 20, 3), torch.randn(2, 1, 3, *size)
    with torch.no_grad():
        fast, readable = (net.set_execution(impl=impl)(x)[0] for impl in ("fast", "readable"))
    assert_close(fast, readable, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 20.0])
@pytest.mark.parametrize("count", [SMALL, LARGE, HUGE])
def test_tanh_is_exact_near_zero_too(count, scale):
    a = scale * torch.randn(1, 32, count // 32, 1, generator=torch.Generator().manual_seed(0))
    exact = a.double().tanh()
    assert ((tanh(a) - exact) / exact).abs().max() < 2 * torch.finfo(a.dtype).eps


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("impl", ["fast", "readable"])
@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize(("hidden", "size"), [(1, 4), (3, 1)])
def test_output_and_state_do_not_share_memory(hidden, size, time, impl, last_only, grad):
    """Where a transposition to channels first moves no number, it is no copy."""
    for cell in (ConvGRU, ConvLSTM):
        net = cell(2, hidden, 3, impl=impl)
        with torch.set_grad_enabled(grad):
            y, (state,) = net(torch.randn(time, 1, 2, size, size), last_only=last_only)
        parts = state if isinstance(state, tuple) else (state,)
        places = [a.untyped_storage().data_ptr() for a in (y, *parts)]
        assert len(set(places)) == len(places)
