"""Networks: parameters, initial values, repr, copies, streaming, layouts, dtypes."""

import copy
import pickle

import numpy as np
import pytest
import torch

import convgru
from convgru import reference
from convgru.spec import shapes
from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, Forecaster
from convgru_torch import backend, readable

NETS = {
    "gru": lambda **o: ConvGRU(2, 3, **o),
    "gru-after": lambda **o: ConvGRU(2, [3, 2], kernel_size=[3, (2, 1)], reset="after", **o),
    "lstm": lambda **o: ConvLSTM(2, 3, 4, num_layers=2, **o),
    "rnn": lambda **o: ConvRNN(2, 3, (5, 2), activation="relu", bias=False, **o),
    "gru-valid": lambda **o: ConvGRU(
        2, [3, 2], 2, padding=["valid", (1, (0, 2))], recurrent_kernel_size=3, dilation=(1, 2), **o
    ),
    "forecaster": lambda **o: Forecaster("lstm", 2, [3, 4], patch=(2, 1), residual=False, **o),
}


def written(net):
    """The first line of what a module prints, as one would write it."""
    return f"{type(net).__name__}({net.extra_repr()})"


def call(net, x, state=None):
    return net(x, 2, state) if isinstance(net, Forecaster) else net(x, state)


def leaves(net, state):
    return [leaf for _, leaf in shapes.state_leaves(net.spec, state)]


@pytest.mark.parametrize("name", NETS)
def test_names_and_shapes_are_canonical(name):
    net = NETS[name]()
    want = shapes.parameter_shapes(net.spec)
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == want
    assert [key for key, _ in net.named_parameters()] == list(want)
    assert list(net.arrays()) == list(want)


@pytest.mark.parametrize("name", NETS)
def test_repr_makes_the_same_network(name):
    net = NETS[name](batch_first=True)
    again = eval(written(net))
    assert again.spec == net.spec
    assert again.batch_first


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("how", ["pickle", "deepcopy", "state dict"])
def test_copies_compute_the_same(name, how):
    net, x = NETS[name](), torch.randn(3, 2, 2, 6, 5)
    if how == "state dict":
        other = type(net).from_spec(net.spec)
        assert not torch.equal(call(other, x)[0], call(net, x)[0])
        other.load_state_dict(net.state_dict(), strict=True)
    else:
        other = copy.deepcopy(net) if how == "deepcopy" else pickle.loads(pickle.dumps(net))
    assert torch.equal(call(other, x)[0], call(net, x)[0])
    assert other.spec == net.spec
    assert other.state_dict()._metadata == net.state_dict()._metadata


def test_loading_is_strict():
    with pytest.raises(RuntimeError, match="bias_hn"):
        ConvGRU(2, 3).load_state_dict(ConvGRU(2, 3, reset="after").state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        ConvGRU(2, 3).load_state_dict(ConvGRU(2, 3, 5).state_dict())


@pytest.mark.parametrize("name", NETS)
def test_batch_first_is_a_transpose(name):
    net, other = NETS[name](), NETS[name](batch_first=True)
    other.load_state_dict(net.state_dict())
    x = torch.randn(3, 2, 2, 6, 5)
    (y, state), (z, other_state) = call(net, x), call(other, x.transpose(0, 1))
    assert torch.equal(y, z.transpose(0, 1))
    assert all(map(torch.equal, leaves(net, state), leaves(net, other_state)))


@pytest.mark.parametrize("name", [name for name in NETS if name != "forecaster"])
def test_steps_equal_the_sequence(name):
    net, x = NETS[name](dtype=torch.float64), torch.randn(4, 2, 2, 6, 5, dtype=torch.float64)
    y, final = net(x)
    state = None
    for frame, want in zip(x, y, strict=True):
        got, state = net.step(frame, state)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-14)
    for got, want in zip(leaves(net, state), leaves(net, final), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "int8", "int32"])
def test_lengths_of_any_integers(dtype):
    """Of torch and of NumPy, there also read from the end, as sorting leaves them."""
    net, x = ConvGRU(2, 3), torch.randn(4, 3, 2, 5, 4)
    want, lengths = net(x, lengths=[4, 2, 1]), np.array([1, 2, 4], dtype)[::-1]
    for given in (lengths, torch.tensor(lengths.tolist(), dtype=getattr(torch, dtype))):
        torch.testing.assert_close(net(x, lengths=given), want, rtol=0, atol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 10])
def test_frames_convolved_at_once_change_nothing(frames, monkeypatch):
    """Chunk sizes that do and do not divide the sequence give equal numbers and gradients."""
    net, x = NETS["gru-valid"](dtype=torch.float64), torch.randn(7, 2, 2, 6, 5, dtype=torch.float64)
    net.set_execution(impl="readable")
    want = torch.autograd.grad(net(x)[0].square().sum(), list(net.parameters()))
    seen = []
    convolve = readable.equations.input_gates
    monkeypatch.setattr(readable, "CHUNK", frames * 2 * 15 * 9 * 8)
    monkeypatch.setattr(
        readable.equations, "input_gates", lambda o, c, p, x: seen.append(x.shape) or convolve(o, c, p, x)
    )
    got = torch.autograd.grad(net(x)[0].square().sum(), list(net.parameters()))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    assert [shape[0] // 2 for shape in seen if shape[1] == 2][: -(-7 // frames)] == [
        min(frames, 7 - t) for t in range(0, 7, frames)
    ]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_dtypes_follow_input_and_parameters(ndim, dtype):
    """Against the float64 reference on the rounded numbers: nothing is cast on the way."""
    spec = convgru.network("gru", 2, [3, 2], kernel_size=[2, 3], ndim=ndim)
    weights = convgru.init(spec, 1, dtype)
    x = np.random.default_rng(0).standard_normal((3, 2, 2, *(5, 4, 6)[:ndim])).astype(weights.dtype)
    y, final, gradients = backend.execute(weights, x, None, cotangents=cotangents(spec, x))
    want, want_final = reference.run(weights, x)
    eps = {"float64": 2.3e-16, "float32": 1.2e-7, "float16": 9.8e-4, "bfloat16": 7.9e-3}[dtype]
    assert y.dtype == weights.dtype
    assert {array.dtype for array in (*final, *gradients.values())} == {weights.dtype}
    for got, ref in ((y, want), *zip(final, want_final, strict=True)):
        assert np.abs(got.astype(np.float64) - ref).max() <= 8 * eps * max(1, np.abs(ref).max())


def cotangents(spec, x):
    states = shapes.state_shapes(spec, x.shape[1], x.shape[3:])
    return np.ones((x.shape[0], *states[-1]), x.dtype), tuple(np.ones(shape, x.dtype) for shape in states)


def test_default_dtype_is_only_a_default():
    net, x = ConvLSTM(2, 3, dtype=torch.float64), torch.randn(2, 1, 2, 4, 4, dtype=torch.float64)
    y, ((h, c),) = net(x)
    assert {y.dtype, h.dtype, c.dtype} == {torch.float64}
    assert net.to(torch.float32)(x.float())[0].dtype == torch.float32


@pytest.mark.parametrize("name", NETS)
def test_meta_construction(name):
    """Large networks are made without memory, and filled in place."""
    net = NETS[name](device="meta")
    assert all(p.is_meta for p in net.parameters())
    assert call(net, torch.empty(3, 2, 2, 6, 5, device="meta"))[0].is_meta
    net.to_empty(device="cpu").reset_parameters()
    assert all(torch.isfinite(p).all() for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_initial_values(dtype):
    net = ConvLSTM(5, 16, 3, dtype=dtype)
    cell = net.layers[0]["fwd"]
    bound = (6 / ((5 + 16) * 9)) ** 0.5
    assert 0.95 * bound < cell.weight_ih.detach().abs().max().item() <= bound * (1 + torch.finfo(dtype).eps)
    for gate in cell.weight_hh.detach().double().reshape(4, 16, -1):
        torch.testing.assert_close(
            gate @ gate.T, torch.eye(16, dtype=torch.float64), rtol=0, atol=8 * torch.finfo(dtype).eps
        )
    assert cell.bias.tolist() == [0.0] * 16 + [1.0] * 16 + [0.0] * 32
    before = copy.deepcopy(net.state_dict())
    net.reset_parameters()
    assert not torch.equal(before["layers.0.fwd.weight_ih"], cell.weight_ih)


def test_parameters_may_be_parametrised():
    """A parametrisation changes the results, though modules read their parameters by name."""
    net, x = ConvGRU(2, 3), torch.randn(3, 1, 2, 4, 4)
    plain = net(x)[0]
    cell = net.layers[0]["fwd"]
    torch.nn.utils.parametrizations.spectral_norm(cell, "weight_hh")
    assert not torch.allclose(net(x)[0], plain)
    net(x)[0].sum().backward()
    assert cell.parametrizations.weight_hh.original.grad is not None


def test_frozen_parameters():
    net, x = ConvGRU(2, 3), torch.randn(3, 1, 2, 4, 4, requires_grad=True)
    net.requires_grad_(False)
    net(x)[0].sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in net.parameters())
    assert not net(x.detach())[0].requires_grad


def test_an_empty_batch():
    y, (h,) = ConvGRU(2, 3)(torch.zeros(4, 0, 2, 5, 5))
    assert (tuple(y.shape), tuple(h.shape)) == ((4, 0, 3, 5, 5), (0, 3, 5, 5))


@pytest.mark.parametrize("name", NETS)
def test_from_spec_and_build(name):
    """The registry's way and the user's give the same module; building draws no random numbers."""
    net = NETS[name]()
    weights = backend.extract(net)
    drawn = torch.random.get_rng_state()
    other = backend.build(weights, batch_first=True)
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert type(other) is type(net)
    assert other.batch_first
    assert backend.owns(other)
    assert all(p.requires_grad and p.is_leaf for p in other.parameters())
    assert backend.extract(other).equal(weights)
    before = {key: array.copy() for key, array in weights.arrays.items()}
    with torch.no_grad():
        for module in (net, other):
            for parameter in module.parameters():
                parameter.zero_()
    assert all((weights.arrays[key] == array).all() for key, array in before.items())  # nothing is shared


def test_bytes_survive_in_every_dtype():
    for dtype in convgru.weights.DTYPES:
        weights = convgru.init(convgru.network("lstm", 2, [3, 2]), 3, dtype)
        assert backend.extract(backend.build(weights)).equal(weights)
