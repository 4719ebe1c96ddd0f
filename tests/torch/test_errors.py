"""Bad input to the PyTorch modules: messages of the form 'owner expected ..., got ...'."""

import numpy as np
import pytest
import torch

import convgru
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, Forecaster, forecast, run
from convgru_torch import backend

X = torch.zeros(8, 2, 3, 16, 16)


def gru(**options):
    return ConvGRU(3, 4, **options)


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
        lambda: gru()(X[0, 0]),
        ValueError,
        "ConvGRU expected an input of 5 axes (T, B, C, H, W), or unbatched of 4 (T, C, H, W), got 3 (input shape (3, 16, 16))",
    ),
    "rank batch first": (
        lambda: gru(batch_first=True)(X[None]),
        ValueError,
        "ConvGRU expected an input of 5 axes (B, T, C, H, W), or unbatched of 4 (T, C, H, W), got 6",
    ),
    "rank of ndim 1": (
        lambda: ConvLSTM(3, 4, ndim=1)(X),
        ValueError,
        "ConvLSTM expected an input of 4 axes (T, B, C, W), or unbatched of 3 (T, C, W), got 5",
    ),
    "rank of a step": (
        lambda: gru().step(X),
        ValueError,
        "ConvGRU expected an input of 4 axes (B, C, H, W), or unbatched of 3 (C, H, W), got 5",
    ),
    "rank of a cell": (
        lambda: ConvGRUCell(3, 4)(X),
        ValueError,
        "ConvGRUCell expected an input of 4 axes (B, C, H, W), or unbatched of 3 (C, H, W), got 5",
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
        "ConvGRU expected x to be a torch.Tensor, got ndarray",
    ),
    "input dtype": (
        lambda: gru()(X.double()),
        TypeError,
        "ConvGRU expected x of dtype float32 (that of its parameters), got float64",
    ),
    "integer input": (
        lambda: gru()(X.long()),
        TypeError,
        "ConvGRU expected x of dtype float32 (that of its parameters), got int64",
    ),
    "half parameters": (
        lambda: gru(dtype=torch.float16)(X),
        TypeError,
        "ConvGRU expected x of dtype float16 (that of its parameters), got float32",
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
        "ConvGRU expected state[0] (h) of dtype float32 (that of its parameters), got float64",
    ),
    "state of arrays": (
        lambda: gru()(X, (np.zeros((2, 4, 16, 16), np.float32),)),
        TypeError,
        "ConvGRU expected state[0] (h) to be a torch.Tensor, got ndarray",
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
        "ConvGRU parameters: missing layers.0.fwd.bias, layers.0.fwd.weight_hh, layers.0.fwd.weight_ih",
    ),
    "a parameter's shape": (
        lambda: run(gru().spec, arrays(gru(kernel_size=5)), X),
        ValueError,
        "ConvGRU layers.0.fwd.weight_ih expected shape (12, 3, 3, 3), got (12, 3, 5, 5)",
    ),
    "parameters of two dtypes": (
        lambda: run(gru().spec, arrays(gru(), **{"layers.0.fwd.bias": torch.zeros(12).double()}), X),
        TypeError,
        "ConvGRU expected one dtype for all parameters, got float32 and float64 (layers.0.fwd.bias)",
    ),
    "a forecaster's parameter": (
        lambda: forecast(Forecaster("gru", 3, 4).spec, dict(gru().named_parameters()), X, 1),
        ValueError,
        "Forecaster parameters: missing encoder.layers.0.fwd.bias",
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
    "batch first": (
        lambda: ConvGRU(3, 4, batch_first="no"),
        TypeError,
        "ConvGRU batch_first expected True or False, got 'no'",
    ),
    "batch first of a forecaster": (
        lambda: Forecaster("gru", 3, 4, batch_first=1),
        TypeError,
        "Forecaster batch_first expected True or False, got 1",
    ),
    "batch first of a spec": (
        lambda: convgru.build(convgru.init(gru().spec), "torch", batch_first=0),
        TypeError,
        "ConvGRU batch_first expected True or False, got 0",
    ),
    "no arguments": (lambda: ConvGRU(), TypeError, "ConvGRU.__init__() missing 2 required positional arguments"),
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
    "a network of complex numbers": (
        lambda: gru().to(torch.complex64)(X),
        TypeError,
        "ConvGRU expected parameters of a real floating dtype, got complex64",
    ),
    "a device of another build": (
        lambda: backend.build(convgru.init(gru().spec), device="cuda:99"),
        convgru.UnsupportedError,
        "PyTorch has no device 'cuda:99' here: only cpu",
    ),
    "no device of torch": (
        lambda: backend.build(convgru.init(gru().spec), device="gpu0"),
        convgru.UnsupportedError,
        "PyTorch has no device 'gpu0' here: only cpu",
    ),
    "an option": (lambda: backend.build(convgru.init(gru().spec), time_major=True), TypeError, "time_major"),
}


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
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
