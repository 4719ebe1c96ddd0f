"""What a call may bring: lengths, context, masks, targets; outputs of all layers or of the last frame; streaming; detach."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru.mindspore as cm
from convgru import reference
from convgru.parity import cases, table
from convgru.spec import forecaster, network
from convgru.spec.shapes import state_leaves
from convgru_mindspore import backend

TABLE = {case.name: case for case in table.table()}
GRAPHS = (
    "lstm-lengths-bidirectional",
    "gru-before-groups",
    "gru-after-updates",
    "lstm-train",
    "lstm-circular-1d",
    "forecaster-lstm-forced",
    "forecaster-gru-before-blind",
)


def measured(case: Any, dtype: str, eps_off: Any) -> float:
    """Worst error of output, state and gradients of a case, in eps."""
    made = cases.problem(case, dtype)
    oracle_y, oracle_state = expected(made, case.steps)
    y, final, found = backend.execute(
        made.weights, made.x, made.state, steps=case.steps, extras=made.extras, cotangents=made.cotangents
    )
    extras = reference.complete_extras(case.spec, made.x.astype(np.float64), made.extras, case.steps)
    wanted = reference.gradient(made.weights, made.x, made.state, made.cotangents, steps=case.steps, extras=extras)
    errors = [eps_off(y, oracle_y), *(eps_off(found[name], wanted[name]) for name in found)]
    ends = zip(state_leaves(case.spec, final), state_leaves(case.spec, oracle_state), strict=True)
    return max(errors + [eps_off(a, b) for (_, a), (_, b) in ends])


def expected(made: Any, steps: Any) -> Any:
    """What the reference gives."""
    e = made.extras
    options = {"lengths": e.lengths, "context": e.context, "masks": e.masks, "targets": e.targets, "forced": e.forced}
    return reference.run(made.weights, made.x, made.state, steps=steps, **options)


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_mode_matches_the_reference(name: str, graph: str, eps_off: Any) -> None:
    assert measured(TABLE[name], "float32", eps_off) < 60


@pytest.mark.parametrize(
    "name", ["gru-before-groups-3d", "lstm-strided-even", "gru-before-reflect-3d", "lstm-norm-peephole"]
)
def test_float16_matches_the_reference(name: str, eps_off: Any) -> None:
    assert measured(TABLE[name], "float16", eps_off) < 16


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
    net = backend.build(made.weights)
    turned = backend.build(made.weights, batch_first=True)
    seq_length = None if lengths is None else list(lengths)
    got, state = net(ms.Tensor(x), seq_length=seq_length, **options)
    other, _ = turned(ms.Tensor(x.swapaxes(0, 1)), seq_length=seq_length, **options)
    assert isinstance(got, tuple) is every
    for one, two, ref in zip(*((y if every else (y,)) for y in (got, other, wanted)), strict=True):
        assert eps_off(one, ref) < 15
        assert eps_off(two, ref if last_only else ref.swapaxes(0, 1)) < 15
    for (_, a), (_, b) in zip(state_leaves(made.spec, state), state_leaves(made.spec, final), strict=True):
        assert eps_off(a, b) < 15


@pytest.mark.parametrize("name", ["gru-before-norm", "lstm-norm-peephole"])
def test_float16_statistics_of_norms_are_float32(name: str) -> None:
    """Squares of thousands are past float16."""
    case = TABLE[name]
    made = cases.problem(case, "float16")
    x = made.x * 1000
    y, _ = backend.build(made.weights)(ms.Tensor(x))
    wanted, _ = reference.run(made.weights, x)
    assert abs(y.asnumpy().astype("float64") - wanted).max() < 0.02


def test_nan_in_the_padding_is_in_no_gradient(mode: str) -> None:
    net = cm.ConvGRU(2, 3, bidirectional=True, ndim=1)
    x, context = np.ones((4, 2, 2, 5), np.float32), np.ones((4, 2, 9, 5), np.float32)
    x[2:, 1] = context[2:, 1] = np.nan
    flat = cm.Flat(net, also=("context", "seq_length"))
    given = [ms.Tensor(x), ms.Tensor(context), ms.Tensor(context), ms.Tensor([4, 2])]
    inputs, parameters = ms.grad(flat, (0, 1, 2), net.trainable_params())(*given)
    for each in (*inputs, *parameters):
        assert np.isfinite(each.asnumpy()).all()
        assert each.asnumpy().any()


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


def test_parameters_of_the_whole_network_carry_the_canonical_names() -> None:
    for case in table.table():
        made = cases.problem(case, "float32")
        net = backend.build(made.weights)
        assert {n: p.shape for n, p in net.parameters_dict().items()} == {
            n: a.shape for n, a in made.weights.arrays.items()
        }, case.name
        assert backend.extract(net).equal(made.weights)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_detach_cuts_the_past(cell: str, make: Any, mode: str) -> None:
    made = make(network(cell, 2, 3), (3, 4))
    net = backend.build(made.weights)

    def loss(x: Any, later: Any, cut: bool) -> Any:
        _, state = net(x)
        if cut:
            state = cm.detach(state)
        y, _ = net(later, state)
        return y.sum()

    x, later = ms.Tensor(made.x), ms.Tensor(made.x)  # two: PyNative sums the gradients of one tensor given twice
    through = ms.grad(loss, (0, 1))
    kept, cut = through(x, later, False), through(x, later, True)
    assert np.abs(kept[0].asnumpy()).max() > 1e-3
    assert not cut[0].asnumpy().any()
    assert np.array_equal(kept[1].asnumpy(), cut[1].asnumpy())
    assert cm.detach(None) is None


def test_nothing_of_a_call_compiles_again(graph: str, make: Any) -> None:
    made = make(network("gru", 2, 3, zoneout=0.3), (3, 4))
    net, rng = backend.build(made.weights), np.random.default_rng(0)
    x, state = made.tensors
    compiled, outputs = 0, []
    for index, lengths in enumerate(([3, 2], [1, 3], [0, 0])):
        context = (ms.Tensor(rng.standard_normal((2, 9, 3, 4)).astype(np.float32)),)
        masks = {"zoneout.0.h": ms.Tensor((rng.random((3, 2, 3, 3, 4)) < 0.3).astype(np.float32))}
        y, state = net(x, state, ms.Tensor(lengths), context=context, masks=masks)
        outputs.append(y.asnumpy())
        compiled = len(net.compile_cache) if index == 0 else compiled
        wanted, _ = reference.run(
            made.weights, made.x, made.state, lengths=lengths, masks={n: m.asnumpy() for n, m in masks.items()},
            context=[c.asnumpy() for c in context],
        )  # fmt: skip
        if index == 0:
            assert np.abs(y.asnumpy() - wanted).max() < 2e-6
    assert len(net.compile_cache) == compiled
    assert np.abs(outputs[1] - outputs[0]).max() > 1e-3
    assert not outputs[2].any()


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


def test_forecaster_teaches_batch_first_too(make: Any, eps_off: Any) -> None:
    made = make(forecaster("gru", 1, [3, 2], patch=2, decoder=True), (4, 4), steps=3)
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((3, 2, 1, 4, 4)).astype(np.float32)
    forced = np.array([[True, False], [True, True], [False, False]])
    wanted, _ = reference.run(made.weights, made.x, steps=3, targets=targets, forced=forced)
    net = backend.build(made.weights, batch_first=True)
    turned = (ms.Tensor(a.swapaxes(0, 1).copy()) for a in (made.x, targets, forced))
    x, targets, forced = turned
    frames, _ = net(x, 3, targets=targets, forced=forced)
    assert eps_off(frames, wanted.swapaxes(0, 1)) < 15
