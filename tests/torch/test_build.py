"""convgru.build: bare cells, and what it says of options that it does not have."""

import pytest
import torch

import convgru
from convgru.torch import ConvGRUCell, ConvLSTMCell, ConvRNNCell

CELLS = {
    "gru": (convgru.network("gru", 2, 3, reset="after", dilation=(1, 2)), ConvGRUCell),
    "lstm": (convgru.network("lstm", 2, 3, peephole="conv", norm=2), ConvLSTMCell),
    "rnn": (convgru.network("rnn", 2, 3, activation="relu", bias=False), ConvRNNCell),
    "updates": (convgru.network("gru", 2, 3, updates=((1, 3), (3, 1))), ConvGRUCell),
}


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("name", CELLS)
def test_a_bare_cell(name, dtype):
    spec, kind = CELLS[name]
    weights = convgru.init(spec, 1, dtype)
    cell = convgru.build(weights, "torch", cell=True)
    assert type(cell) is kind
    assert cell.training
    assert convgru.extract(cell).equal(weights)
    assert convgru.extract(convgru.port(cell, "torch")).equal(weights)
    x = torch.randn(2, 2, 6, 5, dtype=getattr(torch, dtype))
    _, (state,) = convgru.build(weights, "torch")(x[None])
    torch.testing.assert_close(cell(x), state)


NO_CELL = {
    "two layers": convgru.network("gru", 2, [3, 4]),
    "both ways": convgru.network("gru", 2, 3, bidirectional=True),
    "zoneout": convgru.network("lstm", 2, 3, zoneout=0.1),
    "recurrent dropout": convgru.network("gru", 2, 3, recurrent_dropout=0.1),
    "forecaster": convgru.forecaster("gru", 1, 3),
}


@pytest.mark.parametrize("name", NO_CELL)
def test_what_is_more_than_a_cell(name):
    said = r'"torch", cell=True\) expected a network of one layer in one direction, without dropout or zoneout, which'
    with pytest.raises(ValueError, match=said):
        convgru.build(convgru.init(NO_CELL[name]), "torch", cell=True)


def test_a_cell_takes_no_sequence():
    with pytest.raises(ValueError, match="has no batch_first: a cell takes one frame a call"):
        convgru.build(convgru.init(CELLS["gru"][0]), "torch", cell=True, batch_first=True)


@pytest.mark.parametrize("option", ["batchfirst", "hidden_channels", "dropout"])
def test_an_unknown_option_is_named_with_those_that_there_are(option):
    weights = convgru.init(CELLS["gru"][0])
    said = rf"""convgru\.build\(\.\.\., "torch"\) has no option '{option}': its options are batch_first, cell, device"""
    for make in (
        convgru.build,
        lambda _, *rest, **options: convgru.port(convgru.build(weights, "torch"), *rest, **options),
    ):
        with pytest.raises(TypeError, match=said):
            make(weights, "torch", **{option: True})
