"""zero_state is what None stands for; nothing follows torch's default device."""

import pytest
import torch

from convgru.spec.shapes import state_leaves
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, Forecaster

NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 2], stride=[2, 1], dropout=0.2, **o),
    "lstm": lambda **o: ConvLSTM(2, 3, bidirectional=True, recurrent_dropout=0.2, **o),
    "rnn": lambda **o: ConvRNN(2, 3, num_layers=2, bidirectional="stack", zoneout=0.2, **o),
}


@pytest.mark.parametrize("name", NETS)
def test_stacks(name):
    net = NETS[name](dtype=torch.float64).eval()
    x, state = torch.randn(4, 3, 2, 6, 5, dtype=torch.float64), net.zero_state(3, (6, 5))
    assert torch.equal(net(x, state)[0], net(x)[0])
    for (_, got), (_, want) in zip(
        state_leaves(net.spec, net(x, lengths=[0, 0, 0])[1]), state_leaves(net.spec, state), strict=True
    ):
        assert got.dtype == want.dtype
        assert torch.equal(got, want)
    assert all(leaf.is_meta for _, leaf in state_leaves(net.spec, net.to("meta").zero_state(1, (6, 5))))


def test_cells_and_forecasters():
    cell, pair = ConvGRUCell(2, 3, stride=2), ConvLSTMCell(2, 3, ndim=1)
    assert cell.zero_state(2, (6, 5)).shape == cell(torch.zeros(2, 2, 6, 5)).shape
    assert [part.shape for part in pair.zero_state(2, [6])] == [part.shape for part in pair(torch.zeros(2, 2, 6))]
    net = Forecaster("lstm", 1, [3, 2], patch=2, decoder=True)
    x = torch.randn(3, 2, 1, 4, 6)
    assert torch.equal(net(x, 2, net.zero_state(2, (4, 6)))[0], net(x, 2)[0])


def test_what_is_no_size():
    cell = ConvGRUCell(2, 3)
    with pytest.raises(
        ValueError, match=r"^ConvGRUCell zero_state expected a batch that is an integer >= 0, got 2\.0$"
    ):
        cell.zero_state(2.0, (6, 5))
    with pytest.raises(ValueError, match=r"^ConvGRUCell zero_state expected a size of 2 numbers"):
        cell.zero_state(2, (6,))


@pytest.mark.parametrize("name", NETS)
def test_another_default_device(name):
    """Lists of lengths, states and masks are where the input is."""
    net, x = NETS[name](), torch.randn(5, 3, 2, 6, 5)
    torch.manual_seed(0)
    want = net(x, lengths=[5, 2, 0])[0]
    with torch.device("meta"):
        torch.manual_seed(0)
        got = net(x, lengths=[5, 2, 0])[0]
    assert torch.equal(got, want)
