"""Unbatched input, as torch.nn.GRU takes it: no batch axis in any argument or result."""

from functools import partial

import pytest
import torch

from convgru.spec.shapes import context_shapes
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, Forecaster, run

NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 2], stride=[2, 1], **o),
    "lstm": lambda **o: ConvLSTM(2, 3, ndim=1, peephole="conv", **o),
    "rnn, both ways": lambda **o: ConvRNN(2, [3, 2], bidirectional=True, **o),
    "volumes": lambda **o: ConvGRU(2, 3, ndim=3, bidirectional="stack", **o),
}


def batched(tree):
    return torch.utils._pytree.tree_map(lambda a: a[None], tree)


def same(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_sequences(name, batch_first):
    """The same numbers as with a batch of one, state and every form of result included."""
    net = NETS[name](batch_first=batch_first)
    size = (6, 5, 4)[: net.spec.ndim]
    x, axis = torch.randn(4, 2, *size), 0 if batch_first else 1
    _, state = net(x)
    shapes = context_shapes(net.spec, 1, size)
    fixed = tuple(torch.randn(shape[1:]) for shape in shapes)
    timed = tuple(torch.randn(4, *shape[1:]) for shape in shapes)
    for options, timed_output in (({}, True), ({"last_only": True}, False), ({"return_all_layers": True}, True)):
        for context, many in ((None, None), (fixed, batched(fixed)), (timed, [c.unsqueeze(axis) for c in timed])):
            got, final = net(x, state, context=context, **options)
            want, want_final = net(x.unsqueeze(axis), batched(state), context=many, **options)
            same(batched(final), want_final)
            place = axis if timed_output else 0
            same(torch.utils._pytree.tree_map(partial(torch.unsqueeze, dim=place), got), want)
    assert got[0].ndim == net.spec.ndim + 2


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_steps_and_the_pure_function(name):
    net = NETS[name]()
    x = torch.randn(4, 2, *(6, 5)[: net.spec.ndim])
    y, final = net(x)
    state = None
    for t, frame in enumerate(x):
        got, state = net.step(frame, state)
        torch.testing.assert_close(got, y[t])
    torch.testing.assert_close(state, final)
    same(run(net.spec, net.arrays(), x), (y, final))
    torch.testing.assert_close(torch.func.vmap(lambda sample: net(sample)[0])(x[None])[0], y)


@pytest.mark.parametrize("cell", [ConvGRUCell(2, 3), ConvLSTMCell(2, 3, ndim=1)])
def test_cells(cell):
    x = torch.randn(2, *(6, 5)[: cell.spec.ndim])
    state = cell(x)
    same(batched(cell(x, state)), cell(x[None], batched(state)))
    y, new = cell.step(x, state)
    assert torch.equal(y, new[0] if isinstance(new, tuple) else new)
    assert y.ndim == x.ndim


@pytest.mark.parametrize("batch_first", [False, True])
def test_forecasters(batch_first):
    net, axis = Forecaster("lstm", 1, [3, 2], patch=2, decoder=True, batch_first=batch_first), 0 if batch_first else 1
    x, targets, forced = torch.randn(3, 1, 4, 6), torch.randn(5, 1, 4, 6), torch.rand(5) < 0.5
    _, state = net(x, 1)
    got, final = net(x, 5, state, targets=targets, forced=forced)
    many = {"targets": targets.unsqueeze(axis), "forced": forced.unsqueeze(axis)}
    want, want_final = net(x.unsqueeze(axis), 5, batched(state), **many)
    same((got.unsqueeze(axis), batched(final)), (want, want_final))
    frame, state = net.step(x[0])
    assert frame.shape == x[0].shape
    same(batched(state), net.step(x[:1])[1])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_shapes_are_those_of_torch(bidirectional):
    net, native = ConvGRU(2, 3, 1, bidirectional=bidirectional), torch.nn.GRU(2, 3, bidirectional=bidirectional)
    (y, state), (want, h) = net(torch.randn(5, 2, 1, 1)), native(torch.randn(5, 2))
    assert y.shape[:2] == want.shape
    assert torch.stack(state).shape[:2] == h.shape
