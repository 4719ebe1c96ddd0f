"""CUDA graphs on a CPU: a recorder that calls the function again, and networks to record."""

import copy

import torch

from convgru.spec.shapes import state_leaves
from convgru.torch import ConvGRU, ConvLSTM, ConvRNN
from convgru_torch import graphs, sequence_plan

NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 2], **o),
    "gru-after, 1-D": lambda **o: ConvGRU(2, 3, ndim=1, reset="after", **o),
    "lstm": lambda **o: ConvLSTM(2, 3, peephole="hadamard", bidirectional=True, **o),
    "rnn": lambda **o: ConvRNN(2, 3, **o),
}


def record_on_cpu(monkeypatch):
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
    return recorded


def pair(name, **options):
    """A network with graphs, and the readable one with the same weights."""
    net = NETS[name](dtype=torch.float64, cuda_graphs=True, **options)
    return net, copy.deepcopy(net).set_execution(cuda_graphs=False, impl="readable")


def frames(net, length=3, batch=2):
    return torch.randn(length, batch, 2, *(5, 4)[: net.spec.ndim], dtype=torch.float64, requires_grad=True)


def results(net, x, **call):
    y, final = net(x, **call)
    leaves = [leaf for _, leaf in state_leaves(net.spec, final)]
    total = y.square().sum() + sum(leaf.sum() for leaf in leaves)
    return [y, *leaves, *torch.autograd.grad(total, [x, *net.parameters()])]
