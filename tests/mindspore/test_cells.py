"""The bare cells: one frame of one layer, every option, what they return."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest

import convgru.mindspore as cm
from convgru import reference
from convgru.parity import cases, table
from convgru.spec import network
from convgru.spec.shapes import parameter_shapes
from convgru_mindspore import backend

TABLE = {case.name: case for case in table.table()}

TOLERANCE = {"float64": 40.0, "float32": 15.0, "float16": 8.0}  # in eps, at weights 1.5 times their initial size


@pytest.mark.parametrize(
    ("cell", "kind"), [("gru", cm.ConvGRUCell), ("lstm", cm.ConvLSTMCell), ("rnn", cm.ConvRNNCell)]
)
def test_bare_cell_is_one_frame_of_one_layer(cell: str, kind: Any, mode: str, make: Any, eps_off: Any) -> None:
    made = make(network(cell, 2, 3), (5, 4))
    bare = kind.from_spec(made.spec, weights=made.weights)
    assert list(bare.parameters_dict()) == [n.removeprefix("layers.0.fwd.") for n in parameter_shapes(made.spec)]
    assert backend.extract(bare).equal(made.weights)
    x, (entry,) = made.tensors
    for index in range(len(made.x)):
        entry = bare(x[index], entry)
        h = entry[0] if cell == "lstm" else entry
        assert eps_off(h, made.y[index]) < TOLERANCE["float32"]
    first = bare(x[0])
    assert (first[0] if cell == "lstm" else first).shape == (2, 3, 5, 4)


def expected(made: Any, steps: Any) -> Any:
    """The reference's output and final state."""
    e = made.extras
    options = {"lengths": e.lengths, "context": e.context, "masks": e.masks, "targets": e.targets, "forced": e.forced}
    return reference.run(made.weights, made.x, made.state, steps=steps, **options)


def tensors(state: Any) -> Any:
    """A state of arrays as a state of tensors."""
    return tuple(tensors(part) for part in state) if isinstance(state, tuple) else ms.Tensor(state)


@pytest.mark.parametrize("name", ["gru-after-context", "gru-before-updates", "lstm-updates-context", "rnn-tanh-norm"])
def test_a_bare_cell_takes_context_and_every_option(name: str, mode: str, eps_off: Any) -> None:
    made = cases.problem(TABLE[name], "float32")
    y, _ = expected(made, None)
    kinds = {"gru": cm.ConvGRUCell, "lstm": cm.ConvLSTMCell, "rnn": cm.ConvRNNCell}
    cell = kinds[made.weights.spec.cell].from_spec(made.weights.spec, weights=made.weights)
    (entry,) = tensors(made.state)
    context = None if made.extras.context is None else ms.Tensor(made.extras.context[0])
    for index in range(2):
        entry = cell(ms.Tensor(made.x[index]), entry, context)
        assert eps_off(entry[0] if isinstance(entry, tuple) else entry, y[index]) < 15
    assert backend.extract(cell).equal(made.weights)


def test_a_cell_returns_its_state_and_nothing_else() -> None:
    frame = ms.Tensor(np.ones((2, 3, 4, 4), np.float32))
    for kind in (cm.ConvGRUCell, cm.ConvRNNCell):
        assert isinstance(kind(3, 5)(frame), ms.Tensor)
    h, c = cm.ConvLSTMCell(3, 5)(frame)
    assert h.shape == c.shape == (2, 5, 4, 4)


@pytest.mark.parametrize("kind", [cm.ConvGRUCell, cm.ConvLSTMCell, cm.ConvRNNCell])
def test_zero_state_is_what_none_stands_for(kind: Any, mode: str) -> None:
    cell = kind(3, 5, dtype=ms.float64)
    frame = ms.Tensor(np.ones((2, 3, 4, 6)))
    state = cell.zero_state(2, (4, 6))
    given, none = cell(frame, state), cell(frame)
    for one, other in zip(*(s if isinstance(s, tuple) else (s,) for s in (given, none)), strict=True):
        assert one.dtype == ms.float64
        assert np.array_equal(one.asnumpy(), other.asnumpy())
    assert len(cell.compile_cache) == (mode == "graph"), "None and a state share one graph"
