"""Cells: repr, and one layer of a network frame by frame."""

import pytest
import torch

from convgru.torch import ConvGRUCell, ConvLSTMCell, ConvRNNCell
from convgru_torch import backend

CELLS = {
    "gru": lambda **o: ConvGRUCell(2, 3, **o),
    "gru-after": lambda **o: ConvGRUCell(2, 3, reset="after", recurrent_kernel_size=5, **o),
    "lstm": lambda **o: ConvLSTMCell(2, 3, (2, 3), **o),
    "rnn": lambda **o: ConvRNNCell(2, 3, activation="relu", **o),
}


@pytest.mark.parametrize("name", CELLS)
def test_repr_makes_the_same_cell(name):
    cell = CELLS[name]()
    assert eval(f"{type(cell).__name__}({cell.extra_repr()})").spec == cell.spec


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_a_network_of_one_layer(name):
    cell = CELLS[name](dtype=torch.float64)
    net = backend.build(backend.extract(cell))
    x, state = torch.randn(3, 2, 2, 6, 5, dtype=torch.float64), None
    y, (final,) = net(x)
    for frame, want in zip(x, y, strict=True):
        got, stepped = cell.step(frame, state)
        state = cell(frame, state)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    for other in (state, stepped):
        torch.testing.assert_close(other, final, rtol=0, atol=1e-14)
