"""bfloat16 networks, and their states in float32: against the reference, with bfloat16's budget."""

import copy

import numpy as np
import pytest
import torch

import convgru
from convgru import reference
from convgru.spec.shapes import nest_state, state_leaves
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvRNN, Forecaster, run
from convgru_torch import backend

BF16, EPS = torch.bfloat16, 2.0**-7
NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 4], **o),
    "gru-after, norm": lambda **o: ConvGRU(2, 4, reset="after", norm=2, **o),
    "lstm, peepholes, groups": lambda **o: ConvLSTM(2, 4, peephole="conv", groups=2, bidirectional=True, **o),
    "rnn, updates": lambda **o: ConvRNN(2, 3, None, updates=((1, 3), (3, 1)), zoneout=0.2, **o),
}


def error(got, want):
    return (got.detach().double() - want).abs().max().item() / max(1.0, want.abs().max().item())


def exact(net, x, state=None):
    """Output and state of the float64 reference on the same numbers."""
    leaves = None if state is None else nest_state(net.spec, {
        name: a.double().numpy() for name, a in state_leaves(net.spec, state)
    })  # fmt: skip
    y, final = reference.run(backend.extract(net), x.double().numpy(), leaves)
    return [torch.from_numpy(np.asarray(a)) for a in (y, *(a for _, a in state_leaves(net.spec, final)))]


@pytest.mark.parametrize("state_dtype", [None, torch.float32])
@pytest.mark.parametrize("name", NETS)
def test_bfloat16(name, state_dtype):
    """Outputs in bfloat16 and states in their own dtype, within 4 eps; gradients within 16."""
    net = NETS[name](dtype=BF16, state_dtype=state_dtype).eval()
    x = torch.randn(3, 2, 2, 5, 4, dtype=BF16, requires_grad=True)
    y, state = net(x)
    leaves = [leaf for _, leaf in state_leaves(net.spec, state)]
    assert y.dtype == BF16
    assert {leaf.dtype for leaf in leaves} == {state_dtype or BF16}
    for got, want in zip((y, *leaves), exact(net, x.detach()), strict=True):
        assert error(got, want) < 4 * EPS
    again, _ = net(x, state)
    assert again.dtype == BF16
    assert error(again, exact(net, x.detach(), nest_state(net.spec, {
        name: leaf.detach() for name, leaf in state_leaves(net.spec, state)}))[0]) < 4 * EPS  # fmt: skip
    double = copy.deepcopy(net).double().set_execution(state_dtype=None)
    wide = x.detach().double().requires_grad_()
    cotangent = torch.randn(y.shape).bfloat16()
    got = torch.autograd.grad(y, [x, *net.parameters()], cotangent)
    want = torch.autograd.grad(double(wide)[0], [wide, *double.parameters()], cotangent.double())
    for a, b in zip(got, want, strict=True):
        assert a.dtype == BF16
        assert error(a, b) < 16 * EPS


def test_a_state_in_float32_does_not_lose_small_updates():
    """A gate that lets little through: bfloat16 stands still where the state in float32 moves."""
    spec = convgru.network("gru", 1, 1, 1)
    arrays = {name: torch.zeros_like(p) for name, p in ConvGRU(1, 1, 1).named_parameters()}
    arrays["layers.0.fwd.bias"] = torch.tensor([0.0, 7.0, 3.0])  # z = 0.999, n = 0.995
    x, start = torch.zeros(300, 1, 1, 1, 1), (torch.full((1, 1, 1, 1), 0.5),)
    want = run(spec, {n: a.double() for n, a in arrays.items()}, x.double(), (start[0].double(),))[1][0].item()
    low = {n: a.bfloat16() for n, a in arrays.items()}
    plain = run(spec, low, x.bfloat16(), (start[0].bfloat16(),))[1][0].item()
    kept = run(spec, low, x.bfloat16(), start, state_dtype=torch.float32)[1][0].item()
    assert abs(kept - want) < 2e-3
    assert abs(plain - want) > 0.05


@pytest.mark.parametrize("make", [
    lambda **o: ConvGRUCell(2, 3, dtype=BF16, **o),
    lambda **o: Forecaster("lstm", 2, 3, decoder=True, patch=(1, 2), dtype=BF16, **o),
    lambda **o: ConvGRU(2, 3, dtype=BF16, batch_first=True, **o),
])  # fmt: skip
def test_every_module_takes_it(make):
    net = make(state_dtype=torch.float32)
    assert "state_dtype=torch.float32" in repr(net)
    x = torch.randn(2, 2, 4, 4, dtype=BF16) if isinstance(net, ConvGRUCell) else torch.randn(2, 3, 2, 4, 4, dtype=BF16)
    steps = (2,) if isinstance(net, Forecaster) else ()
    zero = net.zero_state(2 if x.ndim == 4 or net.batch_first else 3, (4, 4))
    leaves = torch.utils._pytree.tree_leaves(zero)
    assert {a.dtype for a in leaves} == {torch.float32}
    results = (net(x, *steps, zero), net(x, *steps))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    first = torch.utils._pytree.tree_leaves(results[0])
    assert first[-1].dtype == torch.float32
    assert len(first) == 1 or first[0].dtype == BF16
    half = torch.utils._pytree.tree_map(lambda a: a.bfloat16(), zero)
    assert torch.equal(torch.utils._pytree.tree_leaves(net(x, *steps, half))[0], first[0])


def test_under_compile():
    torch._dynamo.reset()
    net = ConvGRU(2, 3, dtype=BF16, state_dtype=torch.float32)
    x = torch.randn(3, 2, 2, 5, 4, dtype=BF16)
    got, want = torch.compile(net, fullgraph=True, backend="aot_eager")(x), net(x)
    torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_wrong_dtypes():
    with pytest.raises(
        ValueError, match=r"state_dtype expected torch.float32, torch.float64 or None, got torch.bfloat16"
    ):
        ConvGRU(2, 3, state_dtype=BF16)
    x = torch.zeros(2, 1, 2, 4, 4, dtype=torch.float64)
    with pytest.raises(
        TypeError, match="ConvGRU expected a state_dtype that holds its parameters' float64, got float32"
    ):
        ConvGRU(2, 3, dtype=torch.float64, state_dtype=torch.float32)(x)
    net = ConvGRU(2, 3, dtype=BF16, state_dtype=torch.float32)
    with pytest.raises(TypeError, match=r"expected state\[0\] \(h\) of dtype bfloat16.*got float64"):
        net(x.bfloat16(), (torch.zeros(1, 3, 4, 4, dtype=torch.float64),))
