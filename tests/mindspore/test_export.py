"""``mindspore.export``: a nested state is refused, the flat wrapper's is live."""

from __future__ import annotations

from pathlib import Path
from types import FunctionType
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru.mindspore as cm
from convgru.spec import forecaster, network
from convgru.spec.shapes import state_leaves
from convgru_mindspore import backend
from convgru_mindspore.export import refuse_frozen

X = ms.Tensor(np.ones((2, 1, 3, 4, 4), np.float32))
H = ms.Tensor(np.ones((1, 2, 4, 4), np.float32))


class Holder(nn.Cell):
    """A user's model that hands a nested state on."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def construct(self, x: Any, state: Any) -> Any:
        return self.net(x, state)[0]


NESTED: dict[str, tuple[Any, Any]] = {
    "ConvGRU": (lambda: cm.ConvGRU(3, 2), (X, (H,))),
    "ConvLSTM": (lambda: cm.ConvLSTM(3, 2), (X, ((H, H),))),
    "ConvLSTMCell": (lambda: cm.ConvLSTMCell(3, 2), (X[0], (H, H))),
    "ConvRNN, mutable": (lambda: cm.ConvRNN(3, 2), (X, ms.mutable((H,)))),
    "Forecaster": (lambda: cm.Forecaster("gru", 3, 2), (X, 2, (H,))),
    "ConvGRU, in a model": (lambda: Holder(cm.ConvGRU(3, 2)), (X, (H,))),
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
def test_a_nested_state_is_refused(name: str, file_format: str, mode: str, tmp_path: Path) -> None:
    make_net, arguments = NESTED[name]
    before = ms.get_context("jit_syntax_level")
    leaves = {"ConvLSTM": r"net\), .*\(x, h0, c0, h1, c1,", "ConvLSTMCell": r"cell\), .*\(x, h, c\)"}
    flat = leaves.get(name, r"net\), .*\(x, h0, h1,")
    sentence = rf"{name.split(',')[0]} cannot be exported with its state, .*: export convgru\.mindspore\.Flat\({flat}"
    with pytest.raises(ValueError, match=sentence):
        ms.export(make_net(), *arguments, file_name=str(tmp_path / "net"), file_format=file_format)
    assert list(tmp_path.iterdir()) == []
    assert ms.get_context("jit_syntax_level") == before, "MindSpore's strict mode is left behind"


def test_an_export_whose_inputs_cannot_be_seen_is_refused() -> None:
    def export() -> None:
        refuse_frozen("ConvGRU", False)

    elsewhere = {**export.__globals__, "__name__": "mindspore.train"}
    with pytest.raises(ValueError, match="ConvGRU cannot be exported with its state"):
        FunctionType(export.__code__, elsewhere)()


MISUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "no network": (lambda: cm.Flat(3), TypeError, "network or a cell of convgru.mindspore, got int"),
    "no steps": (
        lambda: cm.Flat(cm.Forecaster("gru", 3, 2)),
        TypeError,
        "steps, how many frames .*Forecaster, got None",
    ),
    "steps": (lambda: cm.Flat(cm.ConvGRU(3, 2), 3), TypeError, "neither steps nor resume with a ConvGRU"),
    "resume": (lambda: cm.Flat(cm.ConvGRU(3, 2), resume=True), TypeError, "neither steps nor resume with a ConvGRU"),
    "masks": (lambda: cm.Flat(cm.ConvGRUCell(3, 2), masks={}), TypeError, "no masks with a ConvGRUCell"),
    "half a state": (lambda: cm.Flat(cm.ConvLSTM(3, 2))(X, H), ValueError, "2 tensors of the state or none, .*got 1"),
    "too many": (lambda: cm.Flat(cm.ConvGRU(3, 2))(X, H, H), ValueError, "1 tensors of the state or none, .*got 2"),
    "no context": (lambda: cm.Flat(cm.ConvGRU(3, 2), also=("context",))(X), ValueError, "then 1 for .*got 0"),
}


def test_the_flat_wrapper_leaves_the_names_of_parameters() -> None:
    """Or checkpoints written after an export would have other names than those before."""
    net = cm.ConvGRU(3, 2)
    before = list(net.parameters_dict())
    flat = cm.Flat(net)
    assert list(net.parameters_dict()) == list(flat.parameters_dict()) == before


def test_training_reaches_a_flat_network_whose_graph_was_compiled(graph: str) -> None:
    net = cm.ConvRNN(2, 3, 1, ndim=1, zoneout=0.5)
    flat, x = cm.Flat(net), X[:1, :, :2, 0]
    y = flat(x)[0].asnumpy().copy()
    for _ in range(2):
        flat.set_train()
        assert np.abs(flat(x)[0].asnumpy() - y).max() > 1e-3
        flat.set_train(False)
        assert np.array_equal(flat(x)[0].asnumpy(), y)
    assert cm.Flat(net.set_train()).training


def test_a_flat_network_in_mixed_precision_keeps_its_state(mode: str) -> None:
    """Of zero weights and half a zoneout h' = h/2, which float16 would round."""
    net, h = cm.ConvRNN(1, 1, 1, ndim=1, zoneout=0.5), ms.Tensor(np.full((1, 1, 4), 1 / 3, np.float32))
    for parameter in net.trainable_params():
        parameter.set_data(parameter * 0)
    _, last = cm.Flat(net).to_float(ms.float16)(X[:1, :, :1, 0], h)
    assert last.dtype == ms.float32
    assert np.array_equal(last.asnumpy(), h.asnumpy() / 2)


@pytest.mark.parametrize("name", MISUSED)
def test_the_flat_wrapper_names_what_does_not_fit(name: str, mode: str) -> None:
    call, kind, sentence = MISUSED[name]
    with pytest.raises(kind, match=f"Flat expected .*{sentence}"):
        call()


def test_the_new_onnx_exporter_refuses_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ConvGRU cannot be exported with its state"):
        ms.onnx.export(cm.ConvGRU(3, 2), X, (H,), file_name=str(tmp_path / "net"))


def test_without_a_state_a_network_exports_as_it_is(tmp_path: Path) -> None:
    net = cm.ConvGRU(3, 2)
    ms.export(net, X, file_name=str(tmp_path / "net"), file_format="MINDIR")
    y, (h,) = nn.GraphCell(ms.load(str(tmp_path / "net.mindir")))(X)
    wanted, (last,) = net(X)
    assert np.abs(y.asnumpy() - wanted.asnumpy()).max() < 1e-6
    assert np.abs(h.asnumpy() - last.asnumpy()).max() < 1e-6
    net(X, (H,))  # and goes on taking states afterwards


CASES = {
    "gru": (network("gru", 2, [3, 2], reset="after"), (5, 4), None),
    "lstm-1d": (network("lstm", 2, [3, 2], ndim=1), (6,), None),
    "rnn-3d": (network("rnn", 2, 2, 2, ndim=3), (3, 4, 3), None),
    "forecaster": (forecaster("gru", 1, 3, patch=2), (4, 4), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_mindir_is_exact_and_its_state_is_live(name: str, graph: str, make: Any, build: Any, tmp_path: Path) -> None:
    spec, size, steps = CASES[name]
    made = make(spec, size, steps=steps)
    flat = cm.Flat(build(made), steps)
    x, state = made.tensors
    leaves = [leaf for _, leaf in state_leaves(spec, state)]
    ms.export(flat, x, *leaves, file_name=str(tmp_path / "net"), file_format="MINDIR")
    loaded = nn.GraphCell(ms.load(str(tmp_path / "net.mindir")))
    for scale in (1.0, -0.5):
        moved = [leaf * scale for leaf in leaves]
        got, wanted = loaded(x, *moved), flat(x, *moved)
        assert len(got) == len(wanted) == 1 + len(leaves)
        for one, other in zip(got, wanted, strict=True):
            assert np.array_equal(one.asnumpy(), other.asnumpy())
    assert np.abs(loaded(x, *moved)[0].asnumpy() - made.y).max() > 1e-2
    assert np.abs(loaded(x, *leaves)[0].asnumpy() - made.y).max() < 1e-5


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_bare_cell_streams_from_its_file(cell: str, make: Any, tmp_path: Path, eps_off: Any) -> None:
    made = make(network(cell, 2, 3), (4, 4))
    x, (entry,) = made.tensors
    flat = cm.Flat(backend.build(made.weights, cell=True))
    leaves = entry if cell == "lstm" else (entry,)
    ms.export(flat, x[0], *leaves, file_name=str(tmp_path / "cell"), file_format="MINDIR")
    loaded = nn.GraphCell(ms.load(str(tmp_path / "cell.mindir")))
    for frame, wanted in zip(x, made.y, strict=True):
        got = loaded(frame, *leaves)
        leaves = got if isinstance(got, tuple) else (got,)
        assert eps_off(leaves[0], wanted) < 15


def test_mindir_takes_context_and_lengths(graph: str, make: Any, tmp_path: Any) -> None:
    made = make(network("gru", 2, 3), (3, 4))
    flat = cm.Flat(backend.build(made.weights), also=("context", "seq_length"))
    context = ms.Tensor(np.random.default_rng(0).standard_normal((2, 9, 3, 4)).astype(np.float32))
    x, (h,) = made.tensors
    arguments = (x, h, context, ms.Tensor([3, 1]))
    ms.export(flat, *arguments, file_name=str(tmp_path / "net"), file_format="MINDIR")
    loaded = nn.GraphCell(ms.load(str(tmp_path / "net.mindir")))
    for more in (arguments, (x, h * 2, context * 0.5, ms.Tensor([2, 3]))):
        for one, other in zip(loaded(*more), flat(*more), strict=True):
            assert np.array_equal(one.asnumpy(), other.asnumpy())
    y = loaded(x, h, context, ms.Tensor([2, 3]))[0].asnumpy()
    assert y[2, 1].any()
    assert not y[2, 0].any()
    with pytest.raises(ValueError, match="Flat also expected names"):
        cm.Flat(backend.build(made.weights), also=("masks",))
