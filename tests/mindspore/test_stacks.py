"""The stacks against the float64 reference: layouts, streaming, lengths, state, options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

import convgru
import convgru.mindspore as cm
from convgru import reference
from convgru.parity import cases, table
from convgru.spec import network
from convgru.spec.shapes import parameter_shapes, state_leaves
from convgru_mindspore import arguments, backend

TABLE = {case.name: case for case in table.table()}

TOLERANCE = {"float64": 40.0, "float32": 15.0, "float16": 8.0}  # in eps, at weights 1.5 times their initial size


def test_no_state_means_zeros(called: Any, build: Any, eps_off: Any) -> None:
    made = called()
    expected, _ = reference.run(made.weights, made.x, steps=made.steps)
    arguments = (made.tensors[0],) if made.steps is None else (made.tensors[0], made.steps)
    y, _ = build(made)(*arguments)
    assert eps_off(y, expected) < TOLERANCE["float32"]
    y, _, _ = backend.execute(made.weights, made.x, steps=made.steps)
    assert eps_off(y, expected) < TOLERANCE["float32"]


def test_batch_first_is_a_transpose(called: Any, build: Any) -> None:
    made = called()
    x, state = made.tensors
    more = () if made.steps is None else (made.steps,)
    y, final = build(made)(x, *more, state)
    turned, other = build(made, batch_first=True)(ms.Tensor(made.x.swapaxes(0, 1)), *more, state)
    assert np.array_equal(turned.asnumpy().swapaxes(0, 1), y.asnumpy())
    for (_, a), (_, b) in zip(state_leaves(made.spec, final), state_leaves(made.spec, other), strict=True):
        assert np.array_equal(a.asnumpy(), b.asnumpy())


@pytest.mark.parametrize(
    ("mode", "cell"),
    [("pynative", "gru"), ("pynative", "lstm"), ("pynative", "rnn"), ("graph", "gru"), ("graph", "lstm")],
    indirect=["mode"],
)
def test_step_and_state_continue_a_sequence(mode: str, cell: str, make: Any, build: Any, eps_off: Any) -> None:
    made = make(network(cell, 2, [3, 2]), (5, 4))
    net = build(made)
    x, state = made.tensors
    for index in range(len(made.x)):
        y, state = net.step(x[index], state)
        assert eps_off(y, made.y[index]) < TOLERANCE["float32"]
    for name, leaf in state_leaves(made.spec, state):
        assert eps_off(leaf, made.final[name]) < TOLERANCE["float32"]
    _, state = net(x[:2], made.tensors[1])
    y, _ = net(x[2:], state)
    assert eps_off(y, made.y[2:]) < TOLERANCE["float32"]


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("both", [None, "layer", "stack"])
@pytest.mark.parametrize("lengths", [None, (2, 3, 0)])
def test_outputs_of_all_layers_and_of_the_last_frame(
    lengths: Any, both: Any, every: bool, last_only: bool, make: Any, eps_off: Any
) -> None:
    made = make(network("lstm", 2, [3, 2], bidirectional=both, zoneout=0.2), (3, 4))
    x = np.random.default_rng(0).standard_normal((3, 3, 2, 3, 4)).astype(np.float32)
    options = {"return_all_layers": every, "last_only": last_only}
    wanted, final = reference.run(made.weights, x, lengths=lengths, **options)
    turned = both == "stack"
    net = backend.build(made.weights, batch_first=turned)
    seq_length = None if lengths is None else list(lengths)
    got, state = net(ms.Tensor(x.swapaxes(0, 1) if turned else x), seq_length=seq_length, **options)
    assert isinstance(got, tuple) is every
    for one, ref in zip(*((y if every else (y,)) for y in (got, wanted)), strict=True):
        assert eps_off(one, ref.swapaxes(0, 1) if turned and not last_only else ref) < 15
    for (_, a), (_, b) in zip(state_leaves(made.spec, state), state_leaves(made.spec, final), strict=True):
        assert eps_off(a, b) < 15


def test_seq_length_of_any_integer_kind_and_nan_in_the_padding(make: Any, mode: str) -> None:
    made = make(network("gru", 2, 3, bidirectional=True), (3, 4))
    x = made.x.copy()
    x[2:, 1] = np.nan
    net = backend.build(made.weights)
    first, _ = net(ms.Tensor(x), seq_length=[3, 2])
    assert np.isfinite(first.asnumpy()).all()
    assert not first.asnumpy()[2:, 1].any()
    for kind in (np.int32, np.int64):
        again, _ = net(ms.Tensor(x), None, ms.Tensor(np.array([3, 2], kind)))  # positional, as mindspore.nn.GRU
        assert np.array_equal(again.asnumpy(), first.asnumpy())


def test_who_writes_into_the_last_output_leaves_the_state(make: Any) -> None:
    made = make(network("rnn", 2, [3, 3]), (3, 4))
    net, (x, state) = backend.build(made.weights), made.tensors
    for y, final in (net.step(x[0], state), net(x, state, last_only=True)):
        before = [h.asnumpy().copy() for h in final]
        y[:] = 7.0
        assert all(np.array_equal(h.asnumpy(), was) for h, was in zip(final, before, strict=True))


def expected(made: Any, steps: Any) -> Any:
    """The reference's output and final state."""
    e = made.extras
    options = {"lengths": e.lengths, "context": e.context, "masks": e.masks, "targets": e.targets, "forced": e.forced}
    return reference.run(made.weights, made.x, made.state, steps=steps, **options)


def tensors(state: Any) -> Any:
    """A state of arrays as a state of tensors."""
    return tuple(tensors(part) for part in state) if isinstance(state, tuple) else ms.Tensor(state)


@pytest.mark.parametrize("name", ["gru-after-context", "lstm-zoneout-eval", "gru-before-updates", "lstm-peephole-conv"])
def test_step_continues_a_sequence(name: str, eps_off: Any) -> None:
    case = TABLE[name]
    made = cases.problem(case, "float32")
    y, final = expected(made, None)
    net, state = backend.build(made.weights), tuple(tensors(made.state))
    context = None if made.extras.context is None else tuple(map(ms.Tensor, made.extras.context))
    for index in range(case.time):
        out, state = net.step(ms.Tensor(made.x[index]), state, context=context)
        assert eps_off(out, y[index]) < 15
    for (_, a), (_, b) in zip(state_leaves(case.spec, state), state_leaves(case.spec, final), strict=True):
        assert eps_off(a, b) < 15


def test_parameters_carry_the_canonical_names(named: Any, build: Any) -> None:
    made = named()
    net = build(made)
    shapes = {name: p.shape for name, p in net.parameters_dict().items()}
    assert shapes == parameter_shapes(made.spec)
    assert all(p.name == name for name, p in net.parameters_and_names())
    assert len(net.trainable_params()) == len(shapes)


def test_initial_weights_follow_mindspores_seed_and_our_distributions() -> None:
    def drawn(seed: int) -> Any:
        ms.set_seed(seed)
        return backend.extract(cm.ConvLSTM(2, [4, 3], 3))

    first = drawn(5)
    assert drawn(5).equal(first)
    assert not drawn(6).equal(first)
    for layer, hidden in enumerate((4, 3)):
        bias = first.arrays[f"layers.{layer}.fwd.bias"].reshape(4, hidden)
        assert np.array_equal(bias, np.outer([0, 1, 0, 0], np.ones(hidden)))
        for gate in first.arrays[f"layers.{layer}.fwd.weight_hh"].reshape(4, hidden, -1):
            assert np.allclose(gate @ gate.T, np.eye(hidden), atol=1e-6)
        weight = first.arrays[f"layers.{layer}.fwd.weight_ih"]
        bound = np.sqrt(6 / ((weight.shape[1] + hidden) * 9))
        assert 0.8 * bound < np.abs(weight).max() <= bound


REPRS = (
    (lambda: cm.ConvGRU(2, [8, 4], batch_first=True), "2, [8, 4], kernel_size=3, num_layers=2, batch_first=True, dtype=mindspore.float32"),
    (lambda: cm.ConvLSTM(2, 4, (3, 5), padding="valid", has_bias=False),
        "2, 4, kernel_size=(3, 5), padding='valid', has_bias=False, dtype=mindspore.float32"),
    (lambda: cm.ConvRNNCell(2, 4, ndim=1, activation="relu", dtype=ms.float64), "2, 4, kernel_size=3, ndim=1, activation='relu', dtype=mindspore.float64"),
    (lambda: cm.Forecaster("gru", 1, 8, patch=2), "'gru', 1, 8, kernel_size=3, patch=2, dtype=mindspore.float32"),
    (lambda: cm.ConvLSTM(2, 4, stride=2, groups=2, peephole="conv", bidirectional=True, merge="sum", zoneout=0.1),
        "2, 4, kernel_size=3, stride=2, groups=2, peephole='conv', bidirectional='layer', merge='sum', zoneout=0.1, dtype=mindspore.float32"),
)  # fmt: skip


@pytest.mark.parametrize(("make_net", "arguments"), REPRS, ids=range(len(REPRS)))
def test_repr_shows_the_arguments_and_the_children(make_net: Any, arguments: str) -> None:
    net = make_net()
    assert arguments in repr(net)
    for name in net.name_cells():
        assert f"({name}): " in repr(net)
    kind = type(net)
    assert eval(f"cm.{kind.__name__}({arguments})", {"cm": cm, "mindspore": ms}).spec == net.spec


def test_constructor_and_from_spec_agree_on_the_spec() -> None:
    own = cm.ConvGRU(
        2, [4, 3], [3, (2, 5)], recurrent_kernel_size=3, dilation=2, recurrent_dilation=(1, 2), padding="valid",
        has_bias=False, reset="after", activation="relu",
    )  # fmt: skip
    assert own.spec == network(
        "gru", 2, [4, 3], [3, (2, 5)], recurrent_kernel_size=3, dilation=2, recurrent_dilation=(1, 2), padding="valid",
        bias=False, reset="after", activation="relu",
    )  # fmt: skip
    assert cm.ConvGRU.from_spec(own.spec).spec == own.spec
    assert cm.ConvLSTM(2, 3, num_layers=3, ndim=1).spec == network("lstm", 2, 3, num_layers=3, ndim=1)
    assert cm.ConvRNN(2, 3, ndim=3).spec == network("rnn", 2, 3, ndim=3)
    assert backend.extract(cm.ConvRNN(2, 3, dtype=ms.float64)).dtype == np.float64


def test_pure_functions_take_a_dict(make: Any) -> None:
    made = make(network("lstm", 2, [3, 2]), (5, 4))
    arrays = {name: ms.Tensor(array) for name, array in made.weights.arrays.items()}
    y, _ = cm.run(made.spec, arrays, *made.tensors)
    assert np.abs(y.asnumpy() - made.y).max() < 2e-6
    wanted, _ = reference.run(made.weights, made.x, made.state, lengths=(1, 3))
    y, _ = cm.run(made.spec, arrays, *made.tensors, seq_length=np.array([3, 1], np.uint64)[::-1])
    assert np.abs(y.asnumpy() - wanted).max() < 2e-6


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtype_of_the_input_is_kept_without_a_cast(dtype: str, build: Any, make: Any) -> None:
    made = make(network("gru", 2, 3), (5, 4), dtype)
    y, (h,) = build(made)(*made.tensors)
    assert str(y.dtype).lower() == str(h.dtype).lower() == dtype


def test_a_subclass_is_called_by_its_own_name() -> None:
    class Encoder(cm.ConvGRU):
        pass

    with pytest.raises(ValueError, match=r"^Encoder expected 3 input channels on axis 2, got 2"):
        Encoder(3, 4)(ms.Tensor(np.ones((1, 1, 2, 4, 4), np.float32)))


@pytest.mark.parametrize(
    "make_net", [lambda: cm.ConvLSTM(2, [3, 4], bidirectional=True), lambda: cm.ConvRNN(2, 3, stride=2)]
)
def test_zero_state_is_what_none_stands_for(make_net: Any, mode: str) -> None:
    net, x = make_net(), ms.Tensor(np.ones((2, 3, 2, 5, 4), np.float32))
    given, none = net(x, net.zero_state(3, (5, 4)))[0], net(x)[0]
    assert np.array_equal(given.asnumpy(), none.asnumpy())
    assert len(net.compile_cache) == (mode == "graph"), "None and a state share one graph"


def test_every_call_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    whole = arguments.check_input
    monkeypatch.setattr(arguments, "check_input", lambda *a: seen.append(a) or whole(*a))
    x = ms.Tensor(np.ones((2, 1, 2, 4, 4), np.float32))
    for net, call in (
        (cm.ConvGRU(2, [3, 4], bidirectional=True), lambda net: net(x)),
        (cm.ConvGRU(2, 3), lambda net: net.step(x[0])),
        (cm.ConvLSTMCell(2, 3), lambda net: net(x[0])),
        (cm.Forecaster("gru", 2, 3, decoder=True), lambda net: net(x, 3)),
    ):
        seen.clear()
        call(net)
        assert len(seen) == 1, type(net).__name__


def test_hooks_see_the_sequence_of_a_layer(make: Any) -> None:
    made = make(network("gru", 2, [4, 3], bidirectional=True), (5, 4))
    net, (x, state) = backend.build(made.weights), made.tensors
    seen: dict[str, Any] = {}
    for index, layer in enumerate(net.layers):
        for name in ("fwd", "bwd"):
            key = f"{index}.{name}"
            getattr(layer, name).register_forward_hook(
                lambda cell, inputs, out, key=key: seen.update({key: (inputs[0], out[0])})
            )
    y, _ = net(x, state)
    assert {key: out.shape for key, (_, out) in seen.items()} == {
        "0.fwd": (3, 2, 4, 5, 4), "0.bwd": (3, 2, 4, 5, 4), "1.fwd": (3, 2, 3, 5, 4), "1.bwd": (3, 2, 3, 5, 4),
    }  # fmt: skip
    assert np.array_equal(ms.ops.concat((seen["1.fwd"][1], seen["1.bwd"][1]), 2).asnumpy(), y.asnumpy())
    assert np.array_equal(seen["0.fwd"][0].asnumpy(), x.asnumpy())


THREADS = """
import threading
import convgru.mindspore as cm, mindspore as ms
net, cell, x = cm.ConvGRU(2, 3, ndim=1), cm.ConvLSTMCell(2, 3, ndim=1), ms.ops.ones((3, 2, 2, 6), ms.float32)
wanted, results = net(x)[0].asnumpy(), []
def work():
    for _ in range(2):
        y, _ = net(x)
        h, _ = cell(x[0])
        results.append((y.asnumpy() == wanted).all() and h.shape == (2, 3, 6))
threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join(60)
print(len(results), all(results), flush=True)
"""


def test_calls_from_several_threads() -> None:
    """MindSpore's own operations crash or hang there; a call of a module holds a lock."""
    # Not sys.path, to which MindSpore adds folders whose modules hide Python's own.
    places = {str(Path(module.__file__ or "").parents[1]) for module in (convgru, backend)}
    result = subprocess.run(
        [sys.executable, "-c", THREADS],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sorted(places))},
    )
    assert result.stdout.split() == ["16", "True"], result.stderr
