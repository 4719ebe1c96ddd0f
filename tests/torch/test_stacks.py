"""Stacks as users call them: directions, lengths, last frames, all layers, streaming, printing."""

import pytest
import torch

import convgru
from convgru.spec import Norm
from convgru.spec.shapes import context_shapes, state_leaves
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, ConvRNN, ConvRNNCell, Forecaster, detach
from convgru_torch import backend

DOUBLE = {"dtype": torch.float64}
NETS = {
    "gru, per layer": lambda **o: ConvGRU(2, [3, 2], bidirectional=True, **o),
    "lstm, sum": lambda **o: ConvLSTM(2, [3, 3], bidirectional=True, merge="sum", peephole="conv", stride=[2, 1], **o),
    "rnn, stacks": lambda **o: ConvRNN(2, [3, 2], bidirectional="stack", padding_mode="reflect", norm=1, **o),
    "gru, forward": lambda **o: ConvGRU(4, [4, 4], reset="after", groups=2, updates=((1, 3), (3, 1)), **o),
    "lstm, pooled": lambda **o: ConvLSTM(2, [3, 2], output_size=(3, 2), peephole="hadamard", zoneout=0.2, **o).eval(),
}
BOTH = list(NETS)[:3]
FORWARD = list(NETS)[3:]


def written(net):
    """The first line of what a module prints, as one would write it."""
    return f"{type(net).__name__}({net.extra_repr()})"


def x_of(net, time=5, batch=3):
    return torch.randn(time, batch, net.spec.in_channels, 6, 5, dtype=torch.float64)


def close(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", BOTH)
def test_backward_outputs_belong_to_their_frames(name):
    """A change in the last frame reaches every output; swapped directions read it reversed."""
    net = NETS[name](**DOUBLE)
    x = x_of(net).requires_grad_()
    y, _ = net(x)
    for t in (0, 4):
        (gradient,) = torch.autograd.grad(y[t].sum(), x, retain_graph=True)
        assert gradient.flatten(1).any(1).all()
    if net.spec.merge == "concat" and net.spec.bidirectional == "stack":
        state = net.state_dict()
        swap = {"fwd": "bwd", "bwd": "fwd"}
        turned = {n.replace(d, swap[d]): a.clone() for n, a in state.items() for d in swap if f".{d}." in n}
        net.load_state_dict(turned)
        z, _ = net(x.flip(0))
        close(torch.cat(z.flip(0).chunk(2, 2)[::-1], 2), y)


@pytest.mark.parametrize("name", NETS)
def test_last_only_and_all_layers(name):
    net = NETS[name](**DOUBLE)
    x = x_of(net)
    for lengths in (None, [5, 2, 0]):
        y, final = net(x, lengths=lengths)
        every, _ = net(x, lengths=lengths, return_all_layers=True)
        last, other = net(x, lengths=lengths, last_only=True)
        lasts, _ = net(x, lengths=lengths, last_only=True, return_all_layers=True)
        close(other, final)
        assert (len(every), len(lasts)) == (2, 2)
        close(every[-1], y)
        close(lasts[-1], last)
        ends = [5, 5, 5] if lengths is None else lengths
        for layer, end in zip(every, lasts, strict=True):
            want = [layer[n - 1, b] if n else torch.zeros_like(layer[0, b]) for b, n in enumerate(ends)]
            close(end, torch.stack(want))


def test_last_only_keeps_no_other_outputs():
    """While no gradient is wanted no output of the top layer is alive but the last."""
    net, sizes = ConvGRU(1, 4, bidirectional=True, impl="readable"), []
    stack = torch.stack

    def recording(tensors, *args, **options):
        sizes.append(len(tensors))
        return stack(tensors, *args, **options)

    torch.stack, x = recording, torch.randn(6, 1, 1, 4, 4)
    try:
        with torch.no_grad():
            net(x, last_only=True)
            assert sizes == []
            net(x)
            assert sizes == [6, 6]
    finally:
        torch.stack = stack


@pytest.mark.parametrize("name", NETS)
def test_padding_is_not_read(name):
    """NaN and infinity in the padding change nothing, gradients included."""
    net, lengths = NETS[name](**DOUBLE), [4, 0, 2]
    x = x_of(net)
    context = [torch.randn(5, *s, **DOUBLE) for s in context_shapes(net.spec, 3, (6, 5))]
    dirty, dirtier = x.clone(), [c.clone() for c in context]
    for b, n in enumerate(lengths):
        dirty[n:, b], dirty[n + 1 :, b] = float("nan"), float("inf")
        for c in dirtier:
            c[n:, b] = float("nan")
    results = []
    for image, extra in ((x, context), (dirty, dirtier)):
        image.requires_grad_()
        y, final = net(image, lengths=lengths, context=extra)
        parts = [leaf for _, leaf in state_leaves(net.spec, final)]
        loss = y.square().sum() + sum(part.sum() for part in parts)
        results.append([y, *parts, *torch.autograd.grad(loss, [image, *net.parameters()])])
    for clean, other in zip(*results, strict=True):
        assert torch.equal(clean, other)
    y = results[0][0]
    for b, n in enumerate(lengths):
        assert not y[n:, b].any()
        if n:
            alone = net(x[:n, b : b + 1], context=[c[:n, b : b + 1] for c in context])[0]
            close(y[:n, b], alone[:, 0])


@pytest.mark.parametrize("name", NETS)
def test_length_zero_returns_the_initial_state(name):
    net = NETS[name](**DOUBLE)
    x = x_of(net)
    state = net(x)[1]
    y, final = net(x, state, lengths=torch.tensor([0, 5, 0]))
    for (_, before), (_, after) in zip(state_leaves(net.spec, state), state_leaves(net.spec, final), strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not torch.equal(before[1], after[1])
    assert not y[:, [0, 2]].any()


@pytest.mark.parametrize("name", FORWARD)
def test_steps_equal_the_sequence(name):
    """Frame by frame, with context, fixed and of its own for each frame."""
    net = NETS[name](**DOUBLE)
    x, shapes = x_of(net), context_shapes(net.spec, 3, (6, 5))
    for lead in ((), (5,)):
        context = tuple(torch.randn(*lead, *shape, **DOUBLE) for shape in shapes)
        y, final = net(x, context=context)
        state = None
        for t, frame in enumerate(x):
            got, state = net.step(frame, state, context=tuple(c[t] for c in context) if lead else context)
            close(got, y[t])
        close(state, final)


def test_cells_take_a_context():
    for cell in (ConvGRUCell(2, 3, **DOUBLE), ConvLSTMCell(2, 3, **DOUBLE), ConvRNNCell(2, 3, **DOUBLE)):
        net = backend.build(backend.extract(cell))
        x = x_of(net, 1)
        context = torch.randn(3, cell.spec.layers[0].gates * 3, 6, 5, **DOUBLE)
        close(cell(x[0], context=context), net(x, context=(context,))[1][0])


def test_context_follows_the_layout_of_the_input():
    net, other = (ConvGRU(2, 3, batch_first=b, **DOUBLE) for b in (False, True))
    other.load_state_dict(net.state_dict())
    x, context = torch.randn(5, 3, 2, 4, 4, **DOUBLE), torch.randn(5, 3, 9, 4, 4, **DOUBLE)
    want = net(x, context=(context,))[0]
    assert torch.equal(other(x.transpose(0, 1), context=[context.transpose(0, 1)])[0].transpose(0, 1), want)
    fixed = torch.randn(3, 9, 4, 4, **DOUBLE)
    assert torch.equal(other(x.transpose(0, 1), context=[fixed])[0].transpose(0, 1), net(x, context=[fixed])[0])


def test_a_sequence_in_two_calls():
    """A state handed on gives equal numbers; detached, it ends the second call's gradient."""
    for name in FORWARD:
        net = NETS[name](**DOUBLE)
        x = x_of(net).requires_grad_()
        y, final = net(x)
        first, state = net(x[:3])
        second, end = net(x[3:], state)
        close(torch.cat([first, second]), y)
        close(end, final)
        kept = detach(state)
        assert [leaf.requires_grad for _, leaf in state_leaves(net.spec, kept)].count(True) == 0
        close(kept, state)
        (gradient,) = torch.autograd.grad(net(x[3:], kept)[0].sum(), x)
        assert not gradient[:3].any()
        assert gradient[3:].flatten(1).any(1).all()


def test_detach_takes_what_networks_and_cells_return():
    h = torch.ones(2, requires_grad=True) * 2
    assert detach(None) is None
    assert not detach(h).requires_grad
    assert detach(h).data_ptr() == h.data_ptr()
    assert isinstance(detach([(h, h), h]), tuple)
    with pytest.raises(TypeError, match=r"^detach expected a state, a torch\.Tensor or a tuple of them, got int$"):
        detach((h, 3))


PRINTED = {
    "bidirectional": lambda: ConvGRU(2, [3, 2], bidirectional=True, merge="mul", batch_first=True),
    "stack": lambda: ConvRNN(2, 3, bidirectional="stack", dropout=0.1, recurrent_dropout=0.2, zoneout=0.3),
    "geometry": lambda: ConvGRU(
        2, [4, 2], stride=[(1, 2), 1], groups=[2, 1], recurrent_stride=2, padding=["same", (1, (0, 2))]
    ),
    "modes": lambda: ConvLSTM(2, 3, padding_mode="circular", padding="preserve", stride=2, output_size=(8, 9)),
    "peepholes": lambda: ConvLSTM(2, [3, 2], peephole="hadamard", state_size=(5, 4), norm=(4,)),
    "peepholes on layers of two sizes": lambda: ConvLSTM(
        2, 3, 3, 2, peephole="hadamard", state_size=[(4, 4), 2], stride=[1, 2]
    ),
    "norm": lambda: ConvGRU(2, 4, norm=(2, 1), activation="relu", recurrent_activation="hard_sigmoid_0.2"),
    "norm with eps": lambda: ConvGRU(2, 4, norm=Norm((2, 1), 1e-3), updates=((1, 5), (5, 1))),
    "cell": lambda: ConvGRUCell(2, 4, stride=2, groups=2, norm=2, reset="after"),
    "lstm cell": lambda: ConvLSTMCell(2, 4, ndim=3, peephole="conv", padding_mode="replicate"),
    "rnn cell": lambda: ConvRNNCell(2, 4, ndim=1, updates=(3, 5), recurrent_activation="relu"),
    "forecaster": lambda: Forecaster(
        "lstm", 1, [3, 2], patch=(2, 1), decoder=True, feedback=False, peephole="conv", zoneout=0.1
    ),
}


@pytest.mark.parametrize("name", PRINTED)
def test_repr_makes_the_same(name):
    net = PRINTED[name]()
    again = eval(written(net))
    assert again.spec == net.spec
    assert repr(again) == repr(net)


@pytest.mark.parametrize("name", PRINTED)
def test_names_are_canonical_and_bytes_survive(name):
    net = PRINTED[name]()
    shapes = convgru.spec.shapes.parameter_shapes(net.spec)
    if "updates" not in name and not name.endswith("cell"):
        assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == shapes
    weights = backend.extract(net)
    assert {key: array.shape for key, array in weights.arrays.items()} == shapes
    other = backend.build(weights)
    assert backend.extract(other).equal(weights)
    drawn = convgru.init(net.spec)
    for key, array in weights.arrays.items():  # the same distributions: the constant ones to the bit
        if not any(part in key for part in ("weight_ih", "weight_hh", "readout.weight")):
            assert (array == drawn.arrays[key]).all()


def test_groups_and_gates_are_initialised_each_by_itself():
    """Three gates of two groups: six orthogonal blocks of four rows."""
    for block in ConvGRU(4, 8, groups=2, **DOUBLE).layers[0]["fwd"].weight_hh.detach().reshape(6, 4, -1):
        close(block @ block.T, torch.eye(4, **DOUBLE))


def test_decoder_streams_on_the_encoder():
    """``step`` from the encoder's state ends with the whole call's prediction."""
    net = Forecaster("gru", 1, [3, 2], patch=2, decoder=True, **DOUBLE)
    x, state = torch.randn(4, 2, 1, 6, 4, **DOUBLE), None
    for frame in x:
        prediction, state = net.step(frame, state)
    close(prediction, net(x, 1)[0][0])
    close(state, net.encoder(torch.nn.functional.pixel_unshuffle(x, 2))[1])


def test_a_forecast_goes_on():
    net = Forecaster("lstm", 1, [3, 2], patch=2, **DOUBLE)
    x = torch.randn(4, 2, 1, 6, 4, **DOUBLE)
    whole, final = net(x, 7)
    frames, state = net(x, 3)
    more, end = net(frames[-1:], 4, state)
    close(torch.cat([frames, more]), whole)
    close(end, final)
