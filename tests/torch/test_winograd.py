"""Winograd's convolutions: against torch's, their gradients, their rounding; who takes them."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, stack_module_state, vmap

import convgru
from convgru import UnsupportedError
from convgru.parity import cases, oracle
from convgru.parity import table as case_table
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster, run
from convgru_torch import backend, winograd, winograd_transforms


def numbers(*shape, **options):
    return torch.randn(*shape, dtype=torch.float64, **options)


@pytest.mark.parametrize("padding", [(1, 1), (0, 2)])
@pytest.mark.parametrize("size", [(3, 3), (4, 9), (13, 6)])
def test_it_is_the_convolution(size, padding):
    """Values, gradients, their gradients, forward mode; images that tiles do not divide."""
    x, w = numbers(2, 3, *size, requires_grad=True), numbers(2, 3, 3, 3, requires_grad=True)

    def call(x, w):
        return winograd.correlate(x, w, padding)

    torch.testing.assert_close(call(x, w), F.conv2d(x, w, padding=padding), rtol=1e-12, atol=1e-12)
    fast = {"fast_mode": True, "check_forward_ad": True}
    assert torch.autograd.gradcheck(call, (x, w), **fast)
    assert torch.autograd.gradgradcheck(call, (x, w), fast_mode=True)


@pytest.mark.parametrize("tiles", [1, 3, 7, 100])
def test_tiles_at_once_change_nothing(tiles, monkeypatch):
    monkeypatch.setattr(winograd_transforms, "TILES", tiles)
    x, w = numbers(3, 2, 14, 9, requires_grad=True), numbers(4, 2, 3, 3)
    got, want = winograd.correlate(x, w, (1, 1)), F.conv2d(x, w, padding=1)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    left, right = (torch.autograd.grad(y.square().sum(), x) for y in (got, want))
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)


def test_vmap():
    xs, ws = numbers(3, 2, 2, 5, 6), numbers(3, 4, 2, 3, 3)
    ours, torchs = partial(winograd.correlate, padding=(1, 1)), partial(F.conv2d, padding=1)
    for got, want in zip(
        *(vmap(grad(lambda x, w, f=f: f(x, w).pow(2).sum(), (0, 1)))(xs, ws) for f in (ours, torchs)), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_an_ensemble(any_width):
    """One image meets several kernels: vmap over stacked parameters, several calls within it."""
    nets = [ConvGRU(2, 3, algorithm="winograd") for _ in range(2)]
    parameters, _ = stack_module_state(nets)
    x = torch.randn(2, 1, 2, 6, 5)

    def call(parameters):
        y, state = functional_call(nets[0], parameters, (x,))
        return y, functional_call(nets[0], parameters, (x, state))[0]

    with torch.no_grad():
        first, second = vmap(call)(parameters)
        for index, net in enumerate(nets):
            y, state = net(x)
            torch.testing.assert_close((first[index], second[index]), (y, net(x, state)[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("library", ["oneDNN", "torch.mm"])
def test_rounding_is_as_derived(library, monkeypatch):
    """Relative to that of torch's convolution, for float32 sums over 128 channels."""
    if library == "torch.mm":
        monkeypatch.setattr(winograd_transforms, "ONEDNN", None)
    x, w = torch.randn(1, 128, 32, 32), torch.randn(64, 128, 3, 3)
    exact, size = (
        F.conv2d(*pair, padding=1) for pair in ((x.double(), w.double()), (x.double() ** 2, w.double() ** 2))
    )
    scale = size.sqrt() * torch.finfo(torch.float32).eps
    ours, torchs = (
        ((y - exact) / scale).square().mean().sqrt().item()
        for y in (winograd.correlate(x, w, (1, 1)), F.conv2d(x, w, padding=1))
    )
    assert torchs < ours < torchs * winograd_transforms.amplification()


@pytest.fixture
def any_width(monkeypatch):
    monkeypatch.setattr(winograd, "CHANNELS", 1)


def test_a_wrong_transform_misses_the_budget(any_width, monkeypatch):
    """The wider budget still tells a transform that is off by a thousandth."""
    case = next(case for case in case_table.table() if case.name == "gru-before-2d")
    solution = oracle.solve(case.name, cases.problem(case, "float32"), case.steps)
    monkeypatch.setattr(backend, "build", partial(backend.build, algorithm="winograd"))
    output, kernel, image = winograd.TRANSFORMS[torch.float32]
    monkeypatch.setitem(winograd.TRANSFORMS, torch.float32, (output, kernel * 1.001, image))
    rows = oracle.compare(solution, backend, "torch", "cpu")
    assert max(row.ratio for row in rows) > 10 * winograd_transforms.amplification()


def test_wide_layers_take_it_and_the_others_do_not(monkeypatch):
    seen = []
    convolve = winograd.correlate
    monkeypatch.setattr(winograd, "correlate", lambda x, w, *a: seen.append(tuple(w.shape[:2])) or convolve(x, w, *a))
    net = ConvGRU(3, [128, 8], algorithm="winograd")
    y, _ = net(torch.randn(2, 1, 3, 6, 6))
    assert seen == [(256, 128), (128, 128)] * 2
    assert "winograd: hh_rz, hh_n" in repr(net)
    assert "winograd: nothing, below 128 channels" in repr(net.layers[1]["fwd"])
    for cast in (lambda: net.bfloat16()(torch.randn(2, 1, 3, 6, 6).bfloat16()), lambda: torch.export.export(
        net.float().eval(), (torch.randn(2, 1, 3, 6, 6),))):  # fmt: skip
        seen.clear()
        cast()
        assert not seen
    torch.testing.assert_close(net.float()(torch.zeros(2, 1, 3, 6, 6))[0].shape, y.shape)


def test_kept_transforms_follow_the_weights():
    """Whatever changes the numbers, in place, behind autograd's back, or another parameter."""
    cell, x = ConvGRUCell(128, 128, algorithm="winograd"), torch.randn(1, 128, 6, 6)
    plain = ConvGRUCell(128, 128)
    changes = [
        lambda net: None,
        lambda net: net.weight_hh.mul_(0.5),
        lambda net: net.weight_hh.data.neg_(),
        lambda net: net.load_state_dict(ConvGRUCell(128, 128).state_dict()),
        lambda net: setattr(net, "weight_ih", torch.nn.Parameter(net.weight_ih * 2)),
        lambda net: net.double(),
    ]
    with torch.no_grad():
        for change in changes:
            change(cell)
            plain.to(cell.bias.dtype).load_state_dict(cell.state_dict())
            given = x.to(cell.bias.dtype)
            for _ in range(2):
                torch.testing.assert_close(cell(given), plain(given), rtol=1e-4, atol=1e-4)
    held = len(winograd.KEPT)
    del cell
    assert len(winograd.KEPT) < held


@pytest.mark.parametrize("make", [
    lambda **o: ConvGRU(128, 128, kernel_size=5, **o),
    lambda **o: ConvLSTM(128, 128, ndim=3, **o),
    lambda **o: ConvGRUCell(128, 128, dilation=2, **o),
    lambda **o: Forecaster("gru", 128, 128, kernel_size=1, **o),
    lambda **o: ConvGRU(128, 128, groups=2).set_execution(**o),
    lambda **o: run(convgru.network("gru", 8, 8, 5), dict(ConvGRU(8, 8, 5).named_parameters()), torch.zeros(1, 1, 8, 6, 6), **o),
])  # fmt: skip
def test_a_network_without_such_a_convolution_is_refused(make):
    with pytest.raises(UnsupportedError, match=r"expected a network for algorithm='winograd', .*kernel is \(3, 3\)"):
        make(algorithm="winograd")


def test_fast_insists_on_its_own_convolutions():
    net = ConvGRU(3, 128, impl="fast", algorithm="winograd")
    with pytest.raises(UnsupportedError, match=r"impl='fast' applies, but .*winograd"):
        net(torch.randn(2, 1, 3, 6, 6))


@pytest.mark.parametrize("options", [
    {},
    {"bias": False, "activation": "relu", "recurrent_activation": "hard_sigmoid"},
    {"bidirectional": True, "num_layers": 2},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("size", [(5, 9), (24, 23)])
def test_without_gradients_both_convolutions_in_one(options, size, any_width, monkeypatch):
    """The implementation of its own, in both directions, on batches, and on images in pieces."""
    monkeypatch.setattr(winograd_transforms, "TILES", 10)
    net = ConvGRU(3, 4, algorithm="winograd", dtype=torch.float64, **options).eval()
    plain = ConvGRU(3, 4, dtype=torch.float64, impl="readable", **options).eval()
    plain.load_state_dict(net.state_dict())
    x, state = numbers(4, 3, 3, *size), tuple(numbers(3, 4, *size) for _ in net._layers())
    with torch.no_grad():
        for call in ({}, {"state": state}, {"state": state, "last_only": True}):
            torch.testing.assert_close(net(x, **call), plain(x, **call), rtol=1e-11, atol=1e-11)
            assert {layer.ran.name for layer in net._layers()} == {"winograd"}
        lengths = torch.tensor([4, 2, 1])
        torch.testing.assert_close(net(x, lengths=lengths), plain(x, lengths=lengths), rtol=1e-11, atol=1e-11)
    net(x)
    assert {layer.ran.name for layer in net._layers()} == {"readable"}


def test_its_rounding(any_width):
    """In float32 within the budget, several frames of a wide network."""
    net = ConvGRU(128, 128, algorithm="winograd").eval()
    x = torch.randn(3, 1, 128, 12, 12)
    with torch.no_grad():
        y, _ = net(x)
        exact, _ = net.double()(x.double())
        plain, _ = net.float().set_execution(algorithm="direct", impl="readable")(x)
    ours, theirs = ((a - exact).abs().max().item() for a in (y, plain))
    assert ours < 4 * winograd_transforms.amplification() * theirs
