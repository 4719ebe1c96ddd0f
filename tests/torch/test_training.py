"""Dropout, recurrent dropout, zoneout, teacher forcing: seeded, scaled, off in evaluation."""

import pytest
import torch

from convgru.calls import CallSizes
from convgru.spec.shapes import mask_shapes
from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, Forecaster, run
from convgru_torch.masks import draw, recurrent

OPTIONS = {
    "dropout": lambda **o: ConvGRU(2, [3, 2], dropout=0.4, **o),
    "recurrent dropout": lambda **o: ConvLSTM(2, 3, recurrent_dropout=0.4, **o),
    "zoneout": lambda **o: ConvLSTM(2, 3, zoneout=0.4, **o),
    "everything, both ways": lambda **o: ConvGRU(
        2, [3, 2], dropout=0.3, recurrent_dropout=0.3, zoneout=0.3, bidirectional=True, **o
    ),
    "two stacks": lambda **o: ConvRNN(2, [3, 2], dropout=0.4, bidirectional="stack", **o),
}


def x_of(dtype=torch.float32):
    return torch.randn(5, 2, 2, 4, 4, dtype=dtype)


@pytest.mark.parametrize("name", OPTIONS)
def test_random_in_training_alone(name):
    net, x = OPTIONS[name](), x_of()
    assert not torch.equal(net(x)[0], net(x)[0])
    torch.manual_seed(1)
    first = net(x)[0]
    torch.manual_seed(1)
    assert torch.equal(net(x)[0], first)
    state = torch.random.get_rng_state()
    assert torch.equal(net.eval()(x)[0], net(x)[0])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", OPTIONS)
def test_masks_handed_in_take_the_place_of_random_ones(name):
    net, x = OPTIONS[name](), x_of()
    masks = {key: torch.rand(shape) for key, shape in mask_shapes(net.spec, 5, 2, (4, 4)).items()}
    assert masks
    state = torch.random.get_rng_state()
    y, _ = net(x, masks=masks)
    assert torch.equal(net.eval()(x, masks=masks)[0], y)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(net(x)[0], y)


def test_dropout_without_a_mask_handed_in_is_off_in_evaluation():
    """Dropout in evaluation is the network without it; zoneout is not, for it keeps its mean."""
    x = x_of()
    plain = ConvGRU(2, [3, 2])
    for options, same in (({"dropout": 0.4, "recurrent_dropout": 0.2}, True), ({"zoneout": 0.3}, False)):
        net = ConvGRU(2, [3, 2], **options).eval()
        net.load_state_dict(dict(plain.state_dict()))
        assert torch.equal(net(x)[0], plain(x)[0]) == same


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_scale(p):
    """Dropout keeps the mean and is zero, and zoneout keeps old numbers, with probability p."""
    spec = ConvLSTM(2, 3, num_layers=2, dropout=p, recurrent_dropout=p, zoneout=p).spec
    masks = draw(spec, CallSizes(200, 40, (8, 8), "float64"), torch.float64, torch.device("cpu"))
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == mask_shapes(spec, 200, 40, (8, 8))
    for name, mask in masks.items():
        assert mask.dtype == torch.float64
        zeros = 1 - p if name.startswith("zoneout") else p
        assert sorted(mask.unique().tolist()) == pytest.approx([0, 1 if name.startswith("zoneout") else 1 / (1 - p)])
        assert abs((mask == 0).double().mean().item() - zeros) < 6 * (p * (1 - p) / mask.numel()) ** 0.5
    again = draw(spec, CallSizes(200, 40, (8, 8), "float64"), torch.float64, torch.device("cpu"), recurrent(masks))
    same = {name for name in masks if torch.equal(masks[name], again[name])}
    assert same == {name for name in masks if name.startswith("recurrent")}


def test_one_recurrent_mask_for_all_steps():
    """With W = 0 and U the identity an RNN shows its mask: it is the same in every step."""
    net = ConvRNN(1, 1, 1, recurrent_dropout=0.5, activation="relu", bias=False)
    with torch.no_grad():
        net.layers[0]["fwd"].weight_ih.zero_()
        net.layers[0]["fwd"].weight_hh.fill_(1.0)
    y, _ = net(torch.zeros(4, 1, 1, 16, 16), (torch.ones(1, 1, 16, 16),))
    for t in range(4):
        assert torch.equal(y[t], y[0] ** (t + 1))
    assert set(y[0].unique().tolist()) == {0.0, 2.0}
    frames = Forecaster("rnn", 1, 1, 1, recurrent_dropout=0.5, activation="relu", bias=False, residual=False)
    with torch.no_grad():
        frames.encoder.layers[0]["fwd"].weight_ih.zero_()
        for weight in (frames.encoder.layers[0]["fwd"].weight_hh, frames.readout.weight):
            weight.fill_(1.0)
    y, _ = frames(torch.zeros(1, 1, 1, 16, 16), 3, (torch.ones(1, 1, 16, 16),))
    assert torch.equal(y[2], y[0] ** 3)


def test_zoneout_draws_anew_in_each_step_and_for_each_part():
    net = ConvLSTM(1, 1, zoneout=0.5)
    h = torch.full((1, 1, 16, 16), 7.0)
    y, ((_, c),) = net(torch.randn(1, 1, 1, 16, 16), ((h, h),))
    kept_h, kept_c = y[0] == 7, c == 7
    assert 0.2 < kept_h.float().mean().item() < 0.8
    assert not torch.equal(kept_h, kept_c)
    two, _ = net(torch.randn(2, 1, 1, 16, 16), ((h, h),))
    assert not torch.equal(two[0] == 7, two[1] == two[0])


def test_the_pure_function_is_told():
    net, x = OPTIONS["zoneout"](), x_of()
    arrays = dict(net.named_parameters())
    assert torch.equal(run(net.spec, arrays, x)[0], net.eval()(x)[0])
    assert not torch.equal(run(net.spec, arrays, x, training=True)[0], net(x)[0])


def test_gradients_pass_where_the_mask_is_not_zero():
    net, x = ConvGRU(2, [3, 2], dropout=0.5, dtype=torch.float64), x_of(torch.float64).requires_grad_()
    net(x)[0].sum().backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


def forecaster(**options):
    return Forecaster("gru", 1, 3, patch=2, decoder=True, dtype=torch.float64, **options)


def test_teacher_forcing():
    """0 is the plain forecast, 1 always reads the truth; between, drawn in training only."""
    net, x = forecaster(), torch.randn(2, 8, 1, 4, 4, dtype=torch.float64)
    targets = torch.randn(5, 8, 1, 4, 4, dtype=torch.float64)
    plain, always = net(x, 5)[0], net(x, 5, targets=targets, teacher_forcing=1.0)[0]
    forced = net(x, 5, targets=targets, forced=torch.ones(5, 8, dtype=torch.bool))[0]
    assert torch.equal(always, forced)
    assert torch.equal(always[0], plain[0])
    assert not torch.equal(always[1], plain[1])
    drawn = [net(x, 5, targets=targets, teacher_forcing=0.5)[0] for _ in range(2)]
    assert not torch.equal(*drawn)
    assert {bool(b) for b in torch.isclose(drawn[0][1], plain[1]).flatten(1).all(1)} == {True, False}
    assert torch.equal(net.eval()(x, 5, targets=targets, teacher_forcing=0.5)[0], plain)


def test_teacher_forcing_batch_first():
    net, other = forecaster(), forecaster(batch_first=True)
    other.load_state_dict(net.state_dict())
    x, targets = torch.randn(7, 2, 1, 4, 4, dtype=torch.float64).split([2, 5])
    forced = torch.rand(5, 2) < 0.5
    want, _ = net(x, 5, targets=targets, forced=forced)
    got, _ = other(x.transpose(0, 1), 5, targets=targets.transpose(0, 1), forced=forced.T)
    assert torch.equal(got.transpose(0, 1), want)
    y, _ = other(x.transpose(0, 1), 5, targets=targets.transpose(0, 1), teacher_forcing=0.5)
    assert y.shape == (2, 5, 1, 4, 4)
