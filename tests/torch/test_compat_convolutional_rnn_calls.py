"""The drop-in for pytorch_convolutional_rnn: arguments, initial values, files, wrong calls."""

import copy
import inspect
import math
import pickle

import pytest
import torch
from support import assert_close

import convgru
from convgru.torch.compat import convolutional_rnn

KINDS = ("RNN", "LSTM", "PeepholeLSTM", "GRU")
NETS = [f"Conv{ndim}d{kind}" for ndim in (1, 2, 3) for kind in KINDS]


def make(name, *args, **options):
    return getattr(convolutional_rnn, name)(*args, **options).double()


def image(*axes, ndim=2):
    return torch.randn(*axes, *(6, 5, 4)[:ndim], dtype=torch.float64)


ARGUMENTS = ["num_layers", "bias", "batch_first", "dropout", "bidirectional", "stride", "dilation", "groups"]


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_the_arguments_stand_in_the_originals_order(name, cell):
    names = list(inspect.signature(getattr(convolutional_rnn, name + "Cell" * cell)).parameters)
    last = ["bias", "stride", "dilation", "groups"] if cell else ARGUMENTS
    named = ["nonlinearity"] if name.endswith("RNN") else []
    assert names == ["in_channels", "out_channels", "kernel_size", *named, *last]


@pytest.mark.parametrize("name", ["Conv2dPeepholeLSTM", "Conv1dRNN", "Conv2dGRUCell", "Conv2dPeepholeLSTMCell"])
def test_a_seed_gives_the_originals_initial_values(name):
    torch.manual_seed(3)
    net = getattr(convolutional_rnn, name)(2, 5, 3)
    torch.manual_seed(3)
    weights, biases = ["weight_ih", "weight_hh"], ["bias_ih", "bias_hh"]
    peepholes = ["weight_pi", "weight_pf", "weight_po"] if "Peephole" in name else []
    names = [*weights, *biases, *peepholes] if name.endswith("Cell") else [*weights, *peepholes, *biases]
    assert [key.removesuffix("_l0") for key in net.state_dict()] == names
    for tensor in net.parameters():
        assert torch.equal(tensor, torch.empty_like(tensor).uniform_(-1 / math.sqrt(5), 1 / math.sqrt(5)))


def test_all_weights_are_the_parameters_of_each_layer_and_direction():
    net = make("Conv1dGRU", 2, 3, 3, num_layers=2, bidirectional=True, bias=False)
    assert [len(part) for part in net.all_weights] == [2] * 4
    assert net.all_weights[1][0] is net.weight_ih_l0_reverse
    assert net.mode == "GRU"


@pytest.mark.parametrize(("name", "end"), [("Conv2dPeepholeLSTM", "_l0"), ("Conv2dPeepholeLSTMCell", "")])
def test_the_peepholes_biases_of_older_files_are_added_to_the_gates(name, end):
    net = make(name, 2, 3, 3)
    old = {key: torch.randn_like(value) for key, value in net.state_dict().items()}
    extra = {f"bias_p{gate}{end}": torch.randn(3, dtype=torch.float64) for gate in "ifo"}
    net.load_state_dict({**old, **extra}, strict=True)
    i, f, o = extra.values()
    assert_close(net.state_dict()[f"bias_ih{end}"], old[f"bias_ih{end}"] + torch.cat((i, f, torch.zeros_like(f), o)))
    assert_close(net.state_dict()[f"weight_po{end}"], old[f"weight_po{end}"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [f"Conv2d{kind}" for kind in KINDS])
def test_other_precisions(name, dtype):
    net = getattr(convolutional_rnn, name)(2, 4, 3, bidirectional=True, groups=2)
    x = torch.randn(3, 2, 2, 6, 5)
    want = net(x)[0]
    y, state = copy.deepcopy(net).to(dtype)(x.to(dtype))
    assert {leaf.dtype for leaf in torch.utils._pytree.tree_leaves((y, state))} == {dtype}
    assert_close(y, want, eps=6)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = net(x)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())
    assert_close(y, want, budget=6 * torch.finfo(torch.bfloat16).eps)


@pytest.mark.parametrize("name", ["Conv1dLSTM", "Conv3dPeepholeLSTM", "Conv2dGRUCell"])
def test_copies_and_pickles_compute_the_same(name):
    ndim = int(name[4])
    net = make(name, 2, 3, 3)
    x = image(2, 2, ndim=ndim) if name.endswith("Cell") else image(1, 2, 2, ndim=ndim)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert_close(other(x), net(x))


@pytest.mark.parametrize("name", NETS)
def test_extract_is_adopt_and_port_gives_the_same_numbers(name):
    ndim = int(name[4])
    options = {"groups": 2, "stride": 2, "dilation": 2}
    hints = {**options, **({"nonlinearity": "relu"} if name.endswith("RNN") else {})}
    net = make(name, 4, 2, 3, num_layers=2, bidirectional=True, dropout=0.3, **hints).eval()
    assert convgru.extract(net).equal(convgru.adopt(net.state_dict(), dropout=0.3, **hints))
    x = image(3, 2, 4, ndim=ndim)
    (y, state), (want, final) = convgru.port(net, "torch").eval()(x), net(x)
    assert_close(y, want)
    assert_close(state, tuple(zip(*final, strict=True)) if isinstance(final, tuple) else tuple(final))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make("Conv2dRNN", 2, 3, 3, "sin"), ValueError, "nonlinearity expected 'tanh' or 'relu', got 'sin'"),
        (lambda: make("Conv2dGRU", 4, 3, 3, groups=2), ValueError, "groups expected a divisor of 4 and of 3 channels"),
        (lambda: make("Conv2dGRU", 4, 3, (3, 3, 3)), ValueError, "kernel_size expected"),
        (lambda: make("Conv2dGRU", 2, 3, 3)(image(3, 2, 4)), ValueError, "Conv2dGRU expected 2 input channels"),
        (lambda: make("Conv2dGRU", 2, 3, 3)(None), TypeError, "Conv2dGRU expected x to be a torch.Tensor"),
        (lambda: make("Conv2dGRU", 2, 3, 3)(image(3, 2, 2), image(2, 2, 3)), ValueError, "hx with 1 states"),
        (lambda: make("Conv2dGRU", 2, 3, 3)(image(3, 2, 2), image(1, 2, 4)), ValueError, "Conv2dGRU .*state"),
        (lambda: make("Conv2dGRU", 2, 3, 3)(image(3, 2, 2), 0), TypeError, "hx to be a tensor .* got int"),
        (lambda: make("Conv2dLSTM", 2, 3, 3)(image(3, 2, 2), image(1, 2, 3)), TypeError, "a pair .* got Tensor"),
        (lambda: make("Conv2dLSTMCell", 2, 3, 3)(image(2, 2), image(2, 3)), ValueError, "state"),
    ],
)
def test_errors_name_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", ["Conv2dGRU", "Conv2dLSTM", "Conv1dPeepholeLSTM", "Conv2dGRUCell", "Conv3dLSTMCell"])
def test_only_an_rnn_has_a_nonlinearity(name):
    """An RNN's arguments are the others' with ``nonlinearity`` fourth, as in the original."""
    kind = getattr(convolutional_rnn, name)
    rnn = getattr(convolutional_rnn, f"Conv{kind.convndim}dRNN{'Cell' if name.endswith('Cell') else ''}")
    names, rnn_names = (list(inspect.signature(each).parameters) for each in (kind, rnn))
    assert rnn_names == [*names[:3], "nonlinearity", *names[3:]]
    with pytest.raises(TypeError, match="nonlinearity"):
        kind(2, 3, 3, nonlinearity="relu")
    with pytest.raises(ValueError, match="nonlinearity expected 'tanh' or 'relu', got 'sigmoid'"):
        rnn(2, 3, 3, "sigmoid")
