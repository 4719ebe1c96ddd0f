"""Sequences in parts that are computed again for the gradient: the same numbers, fewer bytes."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import convgru
from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, Forecaster, run

DOUBLE = {"dtype": torch.float64}
ALL = {"dropout": 0.3, "recurrent_dropout": 0.2, "zoneout": 0.1}
X = torch.randn(7, 2, 2, 5, 4, **DOUBLE)
LENGTHS = torch.tensor([7, 3])
NETS = {
    "layers": (lambda **o: ConvGRU(2, [3, 2], **ALL, **o, **DOUBLE), {}),
    "pairs, lengths, batch first": (
        lambda **o: ConvLSTM(2, [3, 2], batch_first=True, **ALL, **o, **DOUBLE),
        {"lengths": LENGTHS},
    ),
    "both ways": (lambda **o: ConvLSTM(2, [3, 2], bidirectional=True, **ALL, **o, **DOUBLE), {"lengths": LENGTHS}),
    "two stacks, last frames": (
        lambda **o: ConvGRU(2, [3, 2], bidirectional="stack", **ALL, **o, **DOUBLE),
        {"lengths": LENGTHS, "last_only": True, "return_all_layers": True},
    ),
    "last frames": (lambda **o: ConvRNN(2, [3, 2], **o, **DOUBLE), {"last_only": True, "lengths": LENGTHS}),
    "last frame of all": (lambda **o: ConvGRU(2, 3, **o, **DOUBLE), {"last_only": True}),
    "context": (
        lambda **o: ConvGRU(2, [3, 2], **o, **DOUBLE),
        {
            "context": (torch.randn(7, 2, 9, 5, 4, **DOUBLE), torch.randn(2, 6, 5, 4, **DOUBLE)),
            "return_all_layers": True,
        },
    ),
    "pooled, updates": (
        lambda **o: ConvGRU(2, 3, None, updates=((1, 3), (3, 1)), output_size=(3, 3), **o, **DOUBLE),
        {},
    ),
    "forecaster": (
        lambda **o: Forecaster("gru", 2, 3, decoder=True, recurrent_dropout=0.2, **o, **DOUBLE),
        {"steps": 2},
    ),
}


def results(net, options):
    """Outputs, states and all gradients, with the masks of one seed."""
    x = (X.transpose(0, 1) if net.batch_first else X).clone().requires_grad_()
    torch.manual_seed(3)
    leaves = torch.utils._pytree.tree_leaves(net(x, **options))
    return leaves, torch.autograd.grad(sum(a.square().sum() for a in leaves), [x, *net.parameters()])


@pytest.mark.parametrize("frames", [1, 3, 7])
@pytest.mark.parametrize("name", NETS)
def test_the_numbers_are_the_same(name, frames):
    make, options = NETS[name]
    net = make()
    want = results(net, options)
    runs = []
    for module in net.modules():
        if type(module).__name__ == "Layer":
            module.register_forward_hook(lambda module, args, y: runs.append(len(args[0])))
    got = results(net.set_execution(checkpoint_frames=frames), options)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    assert max(runs) == frames


def kept(net, x):
    """Bytes that the forward pass leaves behind, the output included."""
    net(x)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        y = net(x)
    assert y[0].requires_grad
    return sum(event.self_cpu_memory_usage for event in profiler.key_averages())


@pytest.mark.parametrize("make", [
    lambda **o: ConvLSTM(2, 4, norm=1, **o),
    lambda **o: ConvGRU(2, [4, 4], **o),
    lambda **o: ConvGRU(2, 4, bidirectional=True, **o),
])  # fmt: skip
def test_fewer_bytes_are_kept(make):
    x = torch.randn(24, 1, 2, 16, 16)
    net = make()
    whole = kept(net, x)
    parts = kept(net.set_execution(checkpoint_frames=4), x)
    output = 24 * 16 * 16 * 4 * 4
    assert 0 < parts < whole / 2
    assert parts < output * (len(net._layers()) + 1.5)


def test_gradients_of_gradients_and_calls_without():
    net = ConvGRU(2, 3, checkpoint_frames=2, **DOUBLE)
    x = X[:4].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: net(x)[0].tanh(), x, fast_mode=True)
    with torch.no_grad():
        assert torch.equal(net(x)[0], ConvGRU.forward(net.set_execution(checkpoint_frames=None), x)[0])


def test_functional_call_and_transforms():
    """The pure function takes the option too; transforms of torch.func run the whole sequence."""
    spec = convgru.network("gru", 2, 3)
    arrays = dict(ConvGRU(2, 3, **DOUBLE).named_parameters())
    x = X.clone().requires_grad_()
    parts, whole = (
        torch.autograd.grad(run(spec, arrays, x, **o)[0].square().sum(), x)[0] for o in ({"checkpoint_frames": 3}, {})
    )
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
    got = torch.func.grad(lambda x: run(spec, arrays, x, checkpoint_frames=3)[0].square().sum())(X)
    torch.testing.assert_close(got, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_wrong_values(value):
    with pytest.raises(ValueError, match="checkpoint_frames expected a positive integer"):
        ConvGRU(2, 3, checkpoint_frames=value)
