"""With a kernel of 1 on 1x1 images the numbers are those of torch.nn.GRU, LSTM and RNN."""

import pytest
import torch
from torch import nn

from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, ConvRNNCell

T, B, C, H = 5, 3, 4, 6
PAIRS = {
    "gru": (ConvGRU, {"reset": "after"}, nn.GRU, {}),
    "lstm": (ConvLSTM, {}, nn.LSTM, {}),
    "rnn-tanh": (ConvRNN, {}, nn.RNN, {}),
    "rnn-relu": (ConvRNN, {"activation": "relu"}, nn.RNN, {"nonlinearity": "relu"}),
}


def make(kind, layers, bias):
    """Both networks in float64 with torch.nn's weights; its two biases become one, but for b_hn."""
    ours, options, theirs, their_options = PAIRS[kind]
    net = ours(C, H, 1, num_layers=layers, bias=bias, dtype=torch.float64, **options)
    native = theirs(C, H, num_layers=layers, bias=bias, dtype=torch.float64, **their_options)
    state = {}
    for layer in range(layers):
        prefix = f"layers.{layer}.fwd."
        for part in ("ih", "hh"):
            state[f"{prefix}weight_{part}"] = getattr(native, f"weight_{part}_l{layer}").detach()[:, :, None, None]
        if bias:
            b_ih, b_hh = (getattr(native, f"bias_{part}_l{layer}").detach() for part in ("ih", "hh"))
            if kind == "gru":
                state[f"{prefix}bias"] = torch.cat([(b_ih + b_hh)[: 2 * H], b_ih[2 * H :]])
                state[f"{prefix}bias_hn"] = b_hh[2 * H :]
            else:
                state[f"{prefix}bias"] = b_ih + b_hh
    net.load_state_dict(state)
    return net, native


def states(kind, layers, native_form):
    """The same random initial state in both forms."""
    h, c = torch.randn(2, layers, B, H, dtype=torch.float64)
    if native_form is None:
        return (None, None)
    entries = tuple(h[i, :, :, None, None] for i in range(layers))
    if kind == "lstm":
        return tuple((e, c[i, :, :, None, None]) for i, e in enumerate(entries)), (h, c)
    return entries, h


def close(got, want):
    assert got.shape == want.shape
    assert (got - want).abs().max() <= 1e-14 * max(1.0, want.abs().max().item())


@pytest.mark.parametrize("given", [True, None], ids=["state", "zeros"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", PAIRS)
def test_forward_and_gradients(kind, layers, bias, given):
    net, native = make(kind, layers, bias)
    ours, theirs = states(kind, layers, given)
    x = torch.randn(T, B, C, dtype=torch.float64)
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, final = net(left[..., None, None], ours)
    want, want_final = native(right, theirs)
    close(y[..., 0, 0], want)
    for layer in range(layers):
        if kind == "lstm":
            close(final[layer][0][..., 0, 0], want_final[0][layer])
            close(final[layer][1][..., 0, 0], want_final[1][layer])
        else:
            close(final[layer][..., 0, 0], want_final[layer])
    cotangent = torch.randn_like(want)
    (y[..., 0, 0] * cotangent).sum().backward()
    (want * cotangent).sum().backward()
    close(left.grad, right.grad)
    for layer in range(layers):
        cell = net.layers[layer]["fwd"]
        close(cell.weight_ih.grad[..., 0, 0], getattr(native, f"weight_ih_l{layer}").grad)
        close(cell.weight_hh.grad[..., 0, 0], getattr(native, f"weight_hh_l{layer}").grad)
        if bias:  # a bias that enters through a sum has the gradient of each summand
            close(cell.bias.grad, getattr(native, f"bias_ih_l{layer}").grad)
        if bias and kind == "gru":
            close(cell.bias_hn.grad, getattr(native, f"bias_hh_l{layer}").grad[2 * H :])


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn"])
def test_cells(kind):
    """A cell's call returns what torch's own cell returns."""
    ours, theirs = {
        "gru": (ConvGRUCell(C, H, 1, reset="after"), nn.GRUCell(C, H)),
        "lstm": (ConvLSTMCell(C, H, 1), nn.LSTMCell(C, H)),
        "rnn": (ConvRNNCell(C, H, 1), nn.RNNCell(C, H)),
    }[kind]
    ours, theirs = ours.double(), theirs.double()
    b_ih, b_hh = theirs.bias_ih.detach(), theirs.bias_hh.detach()
    state = {
        "weight_ih": theirs.weight_ih.detach()[..., None, None],
        "weight_hh": theirs.weight_hh.detach()[..., None, None],
    }
    state["bias"] = b_ih + b_hh
    if kind == "gru":
        state["bias"], state["bias_hn"] = torch.cat([(b_ih + b_hh)[: 2 * H], b_ih[2 * H :]]), b_hh[2 * H :]
    ours.load_state_dict(state)
    x, h, c = (torch.randn(B, n, dtype=torch.float64) for n in (C, H, H))
    image = [a[..., None, None] for a in (x, h, c)]
    if kind == "lstm":
        got, want = ours(image[0], (image[1], image[2])), theirs(x, (h, c))
        assert isinstance(got, tuple)
        close(got[1][..., 0, 0], want[1])
        got, want = got[0], want[0]
    else:
        got, want = ours(image[0], image[1]), theirs(x, h)
    close(got[..., 0, 0], want)
