"""Networks of the PyTorch room with random masks, and equality of their numbers and gradients."""

import torch

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, Forecaster, Layer

DOUBLE = {"dtype": torch.float64}
NETS = {
    "gru": lambda: ConvGRU(2, [3, 2], zoneout=0.2, **DOUBLE),
    "lstm, both ways": lambda: ConvLSTM(2, 3, num_layers=2, bidirectional=True, **DOUBLE),
    "gru, updates": lambda: ConvGRU(2, 3, num_layers=2, updates=((1, 3), (3, 1)), **DOUBLE),
    "rnn, two stacks": lambda: ConvRNN(2, [3, 2], bidirectional="stack", recurrent_dropout=0.3, dropout=0.2, **DOUBLE),
    "forecaster": lambda: Forecaster("gru", 2, [3, 2], decoder=True, **DOUBLE),
    "forecaster without a decoder": lambda: Forecaster("lstm", 2, [3, 2], zoneout=0.1, recurrent_dropout=0.2, **DOUBLE),
}


def x_of(time=4, batch=2):
    return torch.randn(time, batch, 2, 4, 4, dtype=torch.float64)


def call(net, x):
    return net(x, 3) if isinstance(net, Forecaster) else net(x)


def layers_of(net):
    return [module for module in net.modules() if isinstance(module, Layer)]


def backward(net, x):
    """Output and gradients of the parameters by name, with the same random masks in every call."""
    torch.manual_seed(0)
    y = call(net, x)[0]
    net.zero_grad()
    y.square().sum().backward()
    return y.detach(), {name: p.grad for name, p in net.named_parameters()}


def same(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=0)
