"""The drop-in for pytorch_convolutional_rnn: numbers, and the equations in plain torch."""

import pytest
import torch
from support import assert_close
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import convgru
from convgru.torch.compat import convolutional_rnn

KINDS = ("RNN", "LSTM", "PeepholeLSTM", "GRU")
NETS = [f"Conv{ndim}d{kind}" for ndim in (1, 2, 3) for kind in KINDS]
SIZE = (6, 5, 4)
EVERYTHING = {"num_layers": 2, "bidirectional": True, "dilation": 2, "stride": 2, "dropout": 0.5}


def make(name, *args, **options):
    return getattr(convolutional_rnn, name)(*args, **options).double()


def image(*axes, ndim=2):
    return torch.randn(*axes, *SIZE[:ndim], dtype=torch.float64)


@pytest.mark.parametrize("name", ["conv1d_rnn", "conv2d_gru", "conv2d_lstm", "conv2d_peephole", "conv3d_gru"])
def test_the_originals_numbers(golden, name):
    meta, state_dict, arrays = golden(f"convolutional_rnn.{name}")
    args = {key: tuple(value) if isinstance(value, list) else value for key, value in meta["args"].items()}
    net = make(meta["cls"], **args).eval()
    assert list(net.state_dict()) == list(state_dict)
    net.load_state_dict(state_dict, strict=True)
    if meta["lengths"]:
        packed, state = net(pack_padded_sequence(arrays["x"], meta["lengths"]))
        output, lengths = pad_packed_sequence(packed)
        assert lengths.tolist() == meta["lengths"]
    else:
        output, state = net(arrays["x"])
    assert_close(output, arrays["output"])
    assert_close(state, (arrays["h"], arrays["c"]) if "c" in arrays else arrays["h"])


def test_the_example_of_a_packed_sequence():
    net = convolutional_rnn.Conv3dGRU(in_channels=2, out_channels=5, kernel_size=(3, 4, 6), **EVERYTHING)
    x = pack_padded_sequence(torch.randn(3, 2, 2, 10, 14, 18), [3, 1])
    y, h = net(x)
    assert y.data.shape == (4, 10, 10, 14, 18)
    assert h.shape == (4, 2, 5, 10, 14, 18)
    assert repr(net).startswith(
        "Conv3dGRU(2, 5, kernel_size=(3, 4, 6), stride=(2, 2, 2), dilation=(2, 2, 2), num_layers=2"
    )


def test_the_example_of_a_batch_first_lstm():
    net = convolutional_rnn.Conv2dLSTM(in_channels=2, out_channels=5, kernel_size=3, **EVERYTHING, batch_first=True)
    y, (h, c) = net(torch.randn(2, 3, 2, 14, 18))
    assert y.shape == (2, 3, 10, 14, 18)
    assert h.shape == c.shape == (4, 2, 5, 14, 18)


def test_the_example_of_a_cell():
    cell = convolutional_rnn.Conv2dLSTMCell(3, 5, 3)
    hx, output = None, []
    for frame in torch.randn(6, 16, 3, 10, 10):
        hx = cell(frame, hx)
        output.append(hx)
    assert [type(each) for each in output] == [tuple] * 6
    assert hx[0].shape == hx[1].shape == (16, 5, 10, 10)
    assert repr(cell) == "Conv2dLSTMCell(3, 5, kernel_size=(3, 3), stride=(1, 1))"  # the original's raises


def keep(net, x, weight, bias=None):
    """A convolution that gives as many pixels as it takes, at any stride."""
    steps = zip(x.shape[2:], net.kernel_size, net.stride, net.dilation, strict=True)
    totals = [(s - 1) * (n - 1) + d * (k - 1) for n, k, s, d in steps]
    x = F.pad(x, [n for total in reversed(totals) for n in (total // 2, total - total // 2)])
    conv = (F.conv1d, F.conv2d, F.conv3d)[net.convndim - 1]
    return conv(x, weight, bias, net.stride, 0, net.dilation, net.groups)


def plain_step(net, x, h, c, end):
    p = dict(net.named_parameters())
    gi, gh = (keep(net, a, p[f"weight_{w}{end}"], p.get(f"bias_{w}{end}")) for a, w in ((x, "ih"), (h, "hh")))
    if net.mode.startswith("RNN"):
        return (torch.tanh if net.mode.endswith("TANH") else torch.relu)(gi + gh), c
    if net.mode == "GRU":
        (ir, iz, i_n), (hr, hz, hn) = gi.chunk(3, 1), gh.chunk(3, 1)
        r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
        n = torch.tanh(i_n + r * hn)
        return n + z * (h - n), c
    peep = dict.fromkeys("ifo", 0.0)
    if net.mode == "PeepholeLSTM":
        peep = {gate: keep(net, c, p[f"weight_p{gate}{end}"]) for gate in "if"}
    i, f, g, o = (gi + gh).chunk(4, 1)
    c = torch.sigmoid(f + peep["f"]) * c + torch.sigmoid(i + peep["i"]) * torch.tanh(g)
    if net.mode == "PeepholeLSTM":
        peep["o"] = keep(net, c, p[f"weight_po{end}"])
    return torch.sigmoid(o + peep["o"]) * torch.tanh(c), c


def plain(net, x, state):
    """The original's equations, layer by layer, for one sequence (T, B, C, *S) and its states."""
    lstm, entry, hs, cs = "LSTM" in net.mode, 0, [], []
    for layer in range(net.num_layers):
        outputs = []
        for end in ("", "_reverse")[: 1 + net.bidirectional]:
            h, c = (part[entry] for part in state) if lstm else (state[entry], None)
            ys = []
            for frame in x.flip(0) if end else x:
                h, c = plain_step(net, frame, h, c, f"_l{layer}{end}")
                ys.append(h)
            outputs.append(torch.stack(ys[::-1] if end else ys))
            hs.append(h)
            cs.append(c)
            entry += 1
        x = torch.cat(outputs, 2)
    return x, (torch.stack(hs), torch.stack(cs)) if lstm else torch.stack(hs)


def initial(net, batch):
    entries = net.num_layers * (1 + net.bidirectional)
    h = image(entries, batch, net.out_channels, ndim=net.convndim)
    return (h, h.roll(1, 0)) if "LSTM" in net.mode else h


OPTIONS = {
    "plain": {},
    "groups": {"groups": 2, "kernel_size": (4, 3, 2)},
    "both ways": {"num_layers": 2, "bidirectional": True, "kernel_size": 2},
    "stride": {"stride": 2, "dilation": 2, "num_layers": 2},
    "all": {"groups": 2, "stride": (2, 3, 1), "dilation": (1, 2, 1), "num_layers": 2, "bidirectional": True},
    "no bias": {"bias": False, "groups": 2},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NETS)
def test_outputs_states_and_gradients_are_those_of_the_equations(name, options):
    args = {"kernel_size": 3, **OPTIONS[options]}
    ndim = int(name[4])
    args = {key: value[:ndim] if isinstance(value, tuple) else value for key, value in args.items()}
    net = make(name, 4, 2, **args)
    x, state = image(3, 2, 4, ndim=ndim), initial(net, 2)
    y, final = net(x, state)
    want, end = plain(net, x, state)
    assert_close(y, want)
    assert_close(final, end)
    got, expected = (torch.autograd.grad(out.square().sum(), list(net.parameters())) for out in (y, want))
    assert_close(got, expected)


@pytest.mark.parametrize("name", NETS)
def test_a_cell_is_one_step_of_the_network(name):
    ndim = int(name[4])
    options = {"stride": 2, "groups": 2, **({"nonlinearity": "relu"} if name.endswith("RNN") else {})}
    net, cell = make(name, 4, 2, 3, **options), make(f"{name}Cell", 4, 2, 3, **options)
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in net.state_dict().items()})
    x, hx = image(2, 2, 4, ndim=ndim), None
    for frame in x:
        hx = cell(frame, hx)
    assert_close(hx, torch.utils._pytree.tree_map(lambda part: part[0], net(x)[1]))
    weights = convgru.extract(cell)
    assert weights.equal(convgru.extract(net))
    layout = f"convolutional_rnn.{net.kind}_cell"
    assert weights.equal(convgru.adopt(cell.state_dict(), layout, **options))


@pytest.mark.parametrize("name", ["Conv2dGRU", "Conv2dPeepholeLSTM", "Conv1dRNN"])
@pytest.mark.parametrize("lengths", [[4, 2, 1], [2, 4, 1]])
def test_each_sample_of_a_packed_sequence_is_as_if_alone(name, lengths):
    ndim = int(name[4])
    net = make(name, 2, 3, 3, num_layers=2, bidirectional=True, batch_first=True)
    x, state = image(4, 3, 2, ndim=ndim), initial(net, 3)
    packed, final = net(pack_padded_sequence(x, lengths, enforce_sorted=lengths == [4, 2, 1]), state)
    y, sizes = pad_packed_sequence(packed)
    assert sizes.tolist() == lengths
    for b, length in enumerate(lengths):
        begin = torch.utils._pytree.tree_map(lambda part, b=b: part[:, b : b + 1], state)
        want, end = plain(net, x[:length, b : b + 1], begin)
        assert_close(y[:length, b : b + 1], want)
        assert_close(torch.utils._pytree.tree_map(lambda part, b=b: part[:, b : b + 1], final), end)


@pytest.mark.parametrize("split", [1, 3])
@pytest.mark.parametrize("name", [f"Conv2d{kind}" for kind in KINDS])
def test_a_state_continues_a_sequence(name, split):
    net = make(name, 2, 3, 3, num_layers=2, batch_first=True)
    x = image(2, 4, 2)
    whole, final = net(x)
    first, state = net(x[:, :split])
    rest, end = net(x[:, split:], state)
    assert_close(torch.cat((first, rest), 1), whole)
    assert_close(end, final)


def test_dropout_falls_between_the_layers_in_training_alone():
    net = make("Conv2dGRU", 2, 3, 3, num_layers=2, dropout=0.5)
    x = image(3, 2, 2)
    first, second = net(x)[0], net(x)[0]
    assert not torch.equal(first, second)
    assert first.all()
    assert_close(net.eval()(x)[0], plain(net, x, torch.zeros(2, 2, 3, 6, 5, dtype=torch.float64))[0])
