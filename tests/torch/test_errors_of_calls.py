"""Bad lengths, context, masks and teachers: messages 'owner expected ..., got ...'."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster, forecast, run

X = torch.zeros(8, 2, 3, 16, 16)


def gru(**options):
    return ConvGRU(3, 4, **options)


def both(**options):
    return ConvGRU(3, 4, bidirectional=True, **options)


def lengths(value):
    return gru()(X, lengths=value)


def forecaster(**call):
    return Forecaster("gru", 3, 4)(X, 2, **call)


TARGETS, FORCED = torch.zeros(2, 2, 3, 16, 16), torch.ones(2, 2, dtype=torch.bool)


LAYER = gru().layers[0]["fwd"]
WHERE = "ConvGRU layers.0.fwd expected an input"


CALLS = {
    "a layer's frames": (lambda: LAYER(X[:0]), ValueError, f"{WHERE} of shape (T, B, 3, H, W), T at least 1, got (0, "),
    "a layer's axes": (lambda: LAYER(X[0]), ValueError, "T at least 1, got (2, 3, 16, 16)"),
    "a layer's channels": (lambda: LAYER(X[:, :, :2]), ValueError, "T at least 1, got (8, 2, 2, 16, 16)"),
    "a layer's kind": (lambda: LAYER([1]), TypeError, f"{WHERE} that is a torch.Tensor, got list"),
    "a forecaster's spec": (
        lambda: run(Forecaster("gru", 3, 4).spec, {}, X),
        TypeError,
        "run expected the spec of a network (NetworkSpec), got ForecasterSpec",
    ),
    "a network's spec": (
        lambda: forecast(gru().spec, {}, X, 2),
        TypeError,
        "forecast expected the spec of a forecaster (ForecasterSpec), got NetworkSpec",
    ),
    "a step both ways": (
        lambda: both().step(X[0]),
        TypeError,
        "ConvGRU expected a whole sequence: its second direction starts at the last frame",
    ),
    "state of one direction": (
        lambda: both()(X, (torch.zeros(2, 4, 16, 16),)),
        ValueError,
        "ConvGRU expected a state of 2 (one entry for each layer and direction), got 1",
    ),
    "too few lengths": (
        lambda: lengths([3]),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got int64 of shape (1,)",
    ),
    "too few lengths in a tensor": (
        lambda: lengths(torch.tensor([[3, 4]])),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got int64 of shape (1, 2)",
    ),
    "lengths that are no integers": (
        lambda: lengths([3.0, 4.0]),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got float64 of shape (2,)",
    ),
    "lengths of floats": (
        lambda: lengths(torch.tensor([3.0, 4.0])),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got float32 of shape (2,)",
    ),
    "lengths beyond the end": (
        lambda: lengths([3, 9]),
        ValueError,
        "ConvGRU expected lengths from 0 to 8 (the time steps of the input), got [3, 9]",
    ),
    "lengths below zero": (
        lambda: lengths(torch.tensor([3, -1])),
        ValueError,
        "ConvGRU expected lengths from 0 to 8 (the time steps of the input), got [3, -1]",
    ),
    "lengths of an unbatched input": (
        lambda: gru()(X[:, 0], lengths=[3]),
        ValueError,
        "ConvGRU expected no lengths with an unbatched input: it has no padding",
    ),
    "a batched state of an unbatched input": (
        lambda: gru()(X[:, 0], (torch.zeros(1, 4, 16, 16),)),
        ValueError,
        "ConvGRU state[0] (h) expected shape (1, 4, 16, 16), got (1, 1, 4, 16, 16)",
    ),
    "no context": (
        lambda: gru()(X, context=()),
        ValueError,
        "ConvGRU expected a context of 1 arrays (one for each layer and direction), got 0",
    ),
    "context of one direction": (
        lambda: both()(X, context=[torch.zeros(2, 12, 16, 16)]),
        ValueError,
        "ConvGRU expected a context of 2 arrays (one for each layer and direction), got 1",
    ),
    "context's shape": (
        lambda: gru()(X, context=[torch.zeros(2, 4, 16, 16)]),
        ValueError,
        "ConvGRU context[0] expected shape (2, 12, 16, 16), got (2, 4, 16, 16)",
    ),
    "context's time": (
        lambda: gru()(X, context=[torch.zeros(7, 2, 12, 16, 16)]),
        ValueError,
        "ConvGRU context[0] expected shape (8, 2, 12, 16, 16), got (7, 2, 12, 16, 16)",
    ),
    "context's dtype": (
        lambda: gru()(X, context=[torch.zeros(2, 12, 16, 16).double()]),
        TypeError,
        "ConvGRU expected context[0] of dtype float32 (that of its parameters), got float64",
    ),
    "context that is no tensor": (
        lambda: gru()(X, context=[None]),
        TypeError,
        "ConvGRU expected context[0] to be a torch.Tensor, got NoneType",
    ),
    "masks by other names": (
        lambda: gru(zoneout=0.1)(X, masks={"recurrent.0": torch.ones(2, 4, 16, 16)}),
        ValueError,
        "ConvGRU masks: missing zoneout.0.h; unexpected recurrent.0",
    ),
    "masks of another shape": (
        lambda: gru(recurrent_dropout=0.1)(X, masks={"recurrent.0": torch.ones(2, 4, 16)}),
        ValueError,
        "ConvGRU mask recurrent.0 expected shape (2, 4, 16, 16), got (2, 4, 16)",
    ),
    "masks of another dtype": (
        lambda: gru(recurrent_dropout=0.1)(X, masks={"recurrent.0": torch.ones(2, 4, 16, 16) > 0}),
        TypeError,
        "ConvGRU expected mask recurrent.0 of dtype float32 (that of its parameters), got bool",
    ),
    "masks without names": (
        lambda: gru()(X, masks=[]),
        TypeError,
        "ConvGRU expected masks to be a mapping from names to arrays, got list",
    ),
    "reflection wider than the image": (
        lambda: gru(kernel_size=7, padding_mode="reflect")(X[..., :3]),
        ValueError,
        "ConvGRU layer 0 expected at least 4 pixels in spatial dimension 1 for reflect padding of (3, 3)",
    ),
    "peephole of another image": (
        lambda: ConvLSTM(3, 4, peephole="hadamard", state_size=8)(X),
        ValueError,
        "ConvLSTM layer 0 expected a state of spatial size (8, 8) (state_size, its peephole's), got (16, 16)",
    ),
    "dropout": (lambda: gru(dropout=1), ValueError, "ConvGRU dropout expected a probability in [0, 1), got 1"),
    "targets alone": (
        lambda: forecaster(targets=TARGETS),
        TypeError,
        "Forecaster expected targets and forced together",
    ),
    "forced alone": (lambda: forecaster(forced=FORCED), TypeError, "Forecaster expected targets and forced together"),
    "teacher without targets": (
        lambda: forecaster(teacher_forcing=0.5),
        TypeError,
        "Forecaster expected targets, for teacher_forcing=0.5",
    ),
    "teacher of two minds": (
        lambda: forecaster(targets=TARGETS, forced=FORCED, teacher_forcing=0.5),
        TypeError,
        "Forecaster expected forced or teacher_forcing, got both",
    ),
    "teacher's probability": (
        lambda: forecaster(targets=TARGETS, teacher_forcing=1.5),
        ValueError,
        "Forecaster expected teacher_forcing to be a probability, got 1.5",
    ),
    "targets' shape": (
        lambda: forecaster(targets=TARGETS[:1], forced=FORCED),
        ValueError,
        "Forecaster targets expected shape (2, 2, 3, 16, 16), got (1, 2, 3, 16, 16)",
    ),
    "forced's shape": (
        lambda: forecaster(targets=TARGETS, forced=FORCED[:, :1]),
        ValueError,
        "Forecaster forced expected shape (2, 2), got (2, 1)",
    ),
    "forced's dtype": (
        lambda: forecaster(targets=TARGETS, forced=FORCED.float()),
        TypeError,
        "Forecaster expected forced of dtype bool, got float32",
    ),
    "a cell both ways": (
        lambda: ConvGRUCell.from_spec(both().spec),
        ValueError,
        "ConvGRUCell expected a spec of one gru layer",
    ),
}


SPARSE = "got one of layout torch.sparse_coo: its to_dense() will do"
NESTED = "got a nested one: pad it with torch.nested.to_padded_tensor, and give lengths"
META = "got one on the meta device, which holds no numbers"
MASK = torch.zeros(2, 2, 4, 4, 4, device="meta")
SMALL, H = torch.zeros(2, 2, 3, 4, 4), torch.zeros(2, 4, 4, 4)
NO_NUMBERS = {
    "sparse x": (lambda: gru()(SMALL.to_sparse()), f"ConvGRU expected x to be a torch.Tensor, {SPARSE}"),
    "sparse frame": (lambda: gru().step(H[:, :3].to_sparse()), f"ConvGRU expected x to be a torch.Tensor, {SPARSE}"),
    "sparse state": (lambda: gru()(SMALL, (H.to_sparse(),)), f"expected state[0] (h) to be a torch.Tensor, {SPARSE}"),
    "sparse context": (lambda: gru()(SMALL, context=(torch.zeros(2, 12, 4, 4).to_sparse(),)), f"context[0] to be a torch.Tensor, {SPARSE}"),
    "sparse lengths": (lambda: gru()(SMALL, lengths=torch.tensor([1, 2]).to_sparse()), f"expected lengths to be a torch.Tensor, {SPARSE}"),
    "sparse targets": (lambda: forecaster(targets=TARGETS.to_sparse(), forced=FORCED), f"expected targets to be a torch.Tensor, {SPARSE}"),
    "sparse cell": (lambda: ConvGRUCell(3, 4)(SMALL[0].to_sparse()), f"ConvGRUCell expected x to be a torch.Tensor, {SPARSE}"),
    "nested x": (lambda: gru()(torch.nested.nested_tensor([*SMALL], layout=torch.jagged)), f"expected x to be a torch.Tensor, {NESTED}"),
    "nested state": (lambda: gru()(SMALL, (torch.nested.nested_tensor([*H], layout=torch.jagged),)), f"state[0] (h) to be a torch.Tensor, {NESTED}"),
    "meta x": (lambda: gru()(SMALL.to("meta")), "got an input on meta and parameters on cpu"),
    "meta parameters": (lambda: gru(device="meta")(SMALL), "got an input on cpu and parameters on meta"),
    "meta state": (lambda: gru()(SMALL, (H.to("meta"),)), f"expected state[0] (h) to be a torch.Tensor, {META}"),
    "meta lengths": (lambda: gru()(SMALL, lengths=torch.tensor([1, 2], device="meta")), f"expected lengths to be a torch.Tensor, {META}"),
    "meta mask": (lambda: gru(zoneout=0.1)(SMALL, masks={"zoneout.0.h": MASK}), f"zoneout.0.h to be a torch.Tensor, {META}"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_tensors_without_dense_numbers(name):
    call, message = NO_NUMBERS[name]
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)


def test_meta_and_fake_tensors_find_shapes():
    """Deferred initialisation, and tracing without memory."""
    y, (h,) = gru(device="meta")(SMALL.to("meta"), lengths=[1, 2])
    assert (y.shape, h.shape, y.device.type) == ((2, 2, 4, 4, 4), H.shape, "meta")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert gru()(mode.from_tensor(SMALL))[0].shape == (2, 2, 4, 4, 4)


@pytest.mark.parametrize("name", CALLS)
def test_message(name):
    call, kind, message = CALLS[name]
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert type(caught.value) is kind


TRACES = {
    "compile": lambda net, x, options: torch.compile(net, backend="eager")(x, **options),
    "export": lambda net, x, options: torch.export.export(net, (x,), options),
}
LENGTHS = [[2], [9, -1], [1.5, True], [True, False]]


@pytest.mark.parametrize("value", LENGTHS, ids=str)
@pytest.mark.parametrize("way", TRACES)
def test_lists_of_lengths_in_a_trace(way, value):
    """The sentences of an ordinary call: a list is data of the trace, which would broadcast it."""
    net, x = gru(), X[..., :4, :4]
    with pytest.raises(ValueError, match="expected lengths") as want:
        net(x, lengths=value)
    torch._dynamo.reset()
    with pytest.raises(ValueError, match="expected lengths") as got:
        TRACES[way](net, x, {"lengths": value})
    assert str(got.value) == str(want.value)
