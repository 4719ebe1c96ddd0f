"""Bad input to the PyTorch face: what the message says, in the form 'owner expected ..., got ...'."""

import numpy as np
import pytest
import torch

import convgru
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, Forecaster, forecast, run
from convgru_torch import backend

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


def arrays(net, **changed):
    return {**dict(net.named_parameters()), **changed}


CALLS = {
    "channels": (
        lambda: gru()(torch.zeros(8, 2, 4, 16, 16)),
        ValueError,
        "ConvGRU expected 3 input channels on axis 2, got 4 (input shape (8, 2, 4, 16, 16))",
    ),
    "channels batch first": (
        lambda: gru(batch_first=True)(torch.zeros(2, 8, 4, 16, 16)),
        ValueError,
        "ConvGRU expected 3 input channels on axis 2, got 4 (input shape (2, 8, 4, 16, 16))",
    ),
    "rank": (
        lambda: gru()(X[0]),
        ValueError,
        "ConvGRU expected an input of 5 axes (T, B, C, H, W), got 4 (input shape (2, 3, 16, 16))",
    ),
    "rank batch first": (
        lambda: gru(batch_first=True)(X[0]),
        ValueError,
        "ConvGRU expected an input of 5 axes (B, T, C, H, W), got 4",
    ),
    "rank of ndim 1": (
        lambda: ConvLSTM(3, 4, ndim=1)(X),
        ValueError,
        "ConvLSTM expected an input of 4 axes (T, B, C, W), got 5",
    ),
    "rank of a step": (lambda: gru().step(X), ValueError, "ConvGRU expected an input of 4 axes (B, C, H, W), got 5"),
    "rank of a cell": (
        lambda: ConvGRUCell(3, 4)(X),
        ValueError,
        "ConvGRUCell expected an input of 4 axes (B, C, H, W), got 5",
    ),
    "no frames": (lambda: gru()(X[:0]), ValueError, "ConvGRU expected at least 1 on axis 0 (time), got 0"),
    "no pixels": (lambda: gru()(X[..., :0]), ValueError, "ConvGRU expected at least 1 on axis 4 (W), got 0"),
    "image under a valid kernel": (
        lambda: gru(kernel_size=7, padding="valid")(X[..., :5]),
        ValueError,
        "ConvGRU layer 0 expected at least 7 pixels in spatial dimension 1",
    ),
    "numpy input": (
        lambda: gru()(np.zeros((8, 2, 3, 4, 4), np.float32)),
        TypeError,
        "ConvGRU expected an input that is a torch.Tensor, got ndarray",
    ),
    "input dtype": (
        lambda: gru()(X.double()),
        TypeError,
        "ConvGRU expected an input of dtype torch.float32 (that of its parameters), got torch.float64",
    ),
    "integer input": (
        lambda: gru()(X.long()),
        TypeError,
        "ConvGRU expected an input of dtype torch.float32 (that of its parameters), got torch.int64",
    ),
    "half parameters": (
        lambda: gru(dtype=torch.float16)(X),
        TypeError,
        "ConvGRU expected an input of dtype torch.float16 (that of its parameters), got torch.float32",
    ),
    "state not a tuple": (
        lambda: gru()(X, torch.zeros(2, 4, 16, 16)),
        TypeError,
        "ConvGRU expected a state that is a tuple of 1 (one entry for each layer), got Tensor",
    ),
    "state of too few layers": (
        lambda: gru(num_layers=2)(X, (torch.zeros(2, 4, 16, 16),)),
        ValueError,
        "ConvGRU expected a state of 2 (one entry for each layer), got 1",
    ),
    "state shape": (
        lambda: gru()(X, (torch.zeros(2, 4, 16, 15),)),
        ValueError,
        "ConvGRU state[0] (h) expected shape (2, 4, 16, 16), got (2, 4, 16, 15)",
    ),
    "state batch": (
        lambda: gru()(X, (torch.zeros(1, 4, 16, 16),)),
        ValueError,
        "ConvGRU state[0] (h) expected shape (2, 4, 16, 16), got (1, 4, 16, 16)",
    ),
    "state dtype": (
        lambda: gru()(X, (torch.zeros(2, 4, 16, 16).double(),)),
        TypeError,
        "ConvGRU expected state.0.h of dtype torch.float32 (that of its parameters), got torch.float64",
    ),
    "state of arrays": (
        lambda: gru()(X, (np.zeros((2, 4, 16, 16), np.float32),)),
        TypeError,
        "ConvGRU expected state.0.h that is a torch.Tensor, got ndarray",
    ),
    "lstm without c": (
        lambda: ConvLSTM(3, 4)(X, (torch.zeros(2, 4, 16, 16),)),
        TypeError,
        "ConvLSTM expected state[0] to be a pair (h, c), got Tensor",
    ),
    "lstm cell without c": (
        lambda: ConvLSTMCell(3, 4)(X[0], torch.zeros(2, 4, 16, 16)),
        TypeError,
        "ConvLSTMCell expected state[0] to be a pair (h, c), got Tensor",
    ),
    "lstm's c": (
        lambda: ConvLSTM(3, 4)(X, ((torch.zeros(2, 4, 16, 16), torch.zeros(2, 5, 16, 16)),)),
        ValueError,
        "ConvLSTM state[0] (c) expected shape (2, 4, 16, 16), got (2, 5, 16, 16)",
    ),
    "steps": (
        lambda: Forecaster("gru", 3, 4)(X, 0),
        ValueError,
        "Forecaster expected steps, how many frames to forecast, to be a positive integer, got 0",
    ),
    "steps not whole": (lambda: Forecaster("gru", 3, 4)(X, 1.5), ValueError, "positive integer, got 1.5"),
    "patch": (
        lambda: Forecaster("gru", 3, 4, patch=3)(X, 1),
        ValueError,
        "Forecaster expected a multiple of 3 (patch (3, 3)) in spatial dimension 0, got 16",
    ),
    "a parameter missing": (
        lambda: run(gru().spec, {}, X),
        ValueError,
        "ConvGRU expected a parameter layers.0.fwd.weight_ih of shape (12, 3, 3, 3), got []",
    ),
    "a parameter's shape": (
        lambda: run(gru().spec, arrays(gru(kernel_size=5)), X),
        ValueError,
        "ConvGRU expected layers.0.fwd.weight_ih of shape (12, 3, 3, 3), got (12, 3, 5, 5)",
    ),
    "parameters of two dtypes": (
        lambda: run(gru().spec, arrays(gru(), **{"layers.0.fwd.bias": torch.zeros(12).double()}), X),
        TypeError,
        "ConvGRU expected layers.0.fwd.bias of dtype torch.float32",
    ),
    "a forecaster's parameter": (
        lambda: forecast(Forecaster("gru", 3, 4).spec, dict(gru().named_parameters()), X, 1),
        ValueError,
        "Forecaster expected a parameter encoder.layers.0.fwd.weight_ih",
    ),
    "hidden channels": (
        lambda: ConvGRU(3, 0),
        ValueError,
        "ConvGRU hidden_channels expected a positive integer, got 0",
    ),
    "in channels": (lambda: ConvGRU(2.5, 3), ValueError, "ConvGRU in_channels expected a positive integer, got 2.5"),
    "kernel": (
        lambda: ConvGRU(3, 4, (3, 3, 3)),
        ValueError,
        "ConvGRU kernel_size expected a tuple of 2 (ndim), got (3, 3, 3)",
    ),
    "kernel of zero": (lambda: ConvRNN(3, 4, 0), ValueError, "ConvRNN kernel_size expected a positive integer, got 0"),
    "ndim": (lambda: ConvGRU(3, 4, ndim=4), ValueError, "ndim expected one of 1, 2, 3, got 4"),
    "reset": (
        lambda: ConvGRU(3, 4, reset="never"),
        ValueError,
        "ConvGRU reset expected one of 'before', 'after', got 'never'",
    ),
    "activation": (
        lambda: ConvGRU(3, 4, activation="gelu"),
        ValueError,
        "ConvGRU activation expected one of 'tanh', 'relu', 'leaky_relu', 'sigmoid', 'hard_sigmoid', 'hard_sigmoid_0.2', got 'gelu'",
    ),
    "padding": (
        lambda: ConvGRU(3, 4, padding="full"),
        ValueError,
        "ConvGRU padding expected one of 'same', 'valid', 'preserve', got 'full'",
    ),
    "layers": (
        lambda: ConvGRU(3, [4, 4], num_layers=3),
        ValueError,
        "ConvGRU hidden_channels expected a list of 3 (one for each layer), got 2: [4, 4]",
    ),
    "layers of a cell": (lambda: ConvGRUCell(3, [4, 4]), ValueError, "ConvGRUCell expected a spec of one gru layer"),
    "bias": (lambda: ConvGRU(3, 4, bias=1), TypeError, "ConvGRU bias expected True or False, got 1"),
    "dtype": (
        lambda: ConvGRU(3, 4, dtype=torch.int8),
        TypeError,
        "ConvGRU expected dtype float64, float32, float16 or bfloat16, got torch.int8",
    ),
    "cell": (lambda: Forecaster("gpu", 3, 4), ValueError, "cell expected one of 'gru', 'lstm', 'rnn', got 'gpu'"),
    "spec of another cell": (
        lambda: ConvLSTM.from_spec(gru().spec),
        ValueError,
        "ConvLSTM expected a spec of lstm layers, got 'gru'",
    ),
    "device": (
        lambda: backend.execute(convgru.init(gru().spec), X.numpy(), device="cuda:99"),
        convgru.UnsupportedError,
        "PyTorch has no device 'cuda:99' here",
    ),
    "extract": (
        lambda: backend.extract(torch.nn.GRU(3, 4)),
        TypeError,
        "expected a module of convgru.torch, got torch.nn.modules.rnn.GRU",
    ),
    "a step both ways": (
        lambda: both().step(X[0]),
        TypeError,
        "ConvGRU expected a whole sequence: it is bidirectional, and its second direction starts at the end",
    ),
    "state of one direction": (
        lambda: both()(X, (torch.zeros(2, 4, 16, 16),)),
        ValueError,
        "ConvGRU expected a state of 2 (one entry for each layer), got 1",
    ),
    "too few lengths": (
        lambda: lengths([3]),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got int64 of shape (1,)",
    ),
    "too few lengths in a tensor": (
        lambda: lengths(torch.tensor([[3, 4]])),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got torch.int64 of shape (1, 2)",
    ),
    "lengths that are no integers": (
        lambda: lengths([3.0, 4.0]),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got float64 of shape (2,)",
    ),
    "lengths of floats": (
        lambda: lengths(torch.tensor([3.0, 4.0])),
        ValueError,
        "ConvGRU expected lengths to be 2 integers (one for each sample), got torch.float32 of shape (2,)",
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
        "ConvGRU expected context[0] of dtype torch.float32 (that of its parameters), got torch.float64",
    ),
    "context that is no tensor": (
        lambda: gru()(X, context=[None]),
        TypeError,
        "ConvGRU expected context[0] that is a torch.Tensor, got NoneType",
    ),
    "masks by other names": (
        lambda: gru(zoneout=0.1)(X, masks={"recurrent.0": torch.ones(2, 4, 16, 16)}),
        ValueError,
        "ConvGRU masks: missing ['zoneout.0.h'], unexpected ['recurrent.0']",
    ),
    "masks of another shape": (
        lambda: gru(recurrent_dropout=0.1)(X, masks={"recurrent.0": torch.ones(2, 4, 16)}),
        ValueError,
        "ConvGRU mask recurrent.0 expected shape (2, 4, 16, 16), got (2, 4, 16)",
    ),
    "masks of another dtype": (
        lambda: gru(recurrent_dropout=0.1)(X, masks={"recurrent.0": torch.ones(2, 4, 16, 16) > 0}),
        TypeError,
        "ConvGRU expected mask recurrent.0 of dtype torch.float32 (that of its parameters), got torch.bool",
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
        "Forecaster expected forced that is a torch.Tensor of torch.bool, got torch.float32",
    ),
    "a cell both ways": (
        lambda: ConvGRUCell.from_spec(both().spec),
        ValueError,
        "ConvGRUCell expected a spec of one gru layer",
    ),
    "an option": (lambda: backend.build(convgru.init(gru().spec), time_major=True), TypeError, "time_major"),
}


@pytest.mark.parametrize("name", CALLS)
def test_message(name):
    call, kind, message = CALLS[name]
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert type(caught.value) is kind


def test_non_finite_parameters_do_not_leave():
    net = gru()
    with torch.no_grad():
        net.layers[0]["fwd"].bias[0] = float("nan")
    with pytest.raises(convgru.WeightsError, match=r"layers\.0\.fwd\.bias expected finite numbers, got 1 of 12"):
        backend.extract(net)
