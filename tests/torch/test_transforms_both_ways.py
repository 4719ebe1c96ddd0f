"""Transforms of bidirectional networks with lengths and context, second derivatives included."""

import copy

import pytest
import torch
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from convgru.spec.shapes import context_shapes
from convgru.torch import ConvGRU, ConvLSTM, Forecaster

NETS = {
    "gru": lambda **o: ConvGRU(2, [2, 3], bidirectional=True, stride=[2, 1], padding_mode="reflect", **o),
    "gru-after": lambda **o: ConvGRU(4, 4, reset="after", groups=2, bidirectional="stack", merge="sum", norm=2, **o),
    "lstm": lambda **o: ConvLSTM(2, 3, bidirectional=True, peephole="hadamard", padding_mode="circular", **o),
    "lstm-conv": lambda **o: ConvLSTM(
        2,
        2,
        peephole="conv",
        padding_mode="replicate",
        output_size=(3, 4),
        updates=((1, 3), (3, 1)),
        zoneout=0.1,
        **o,
    ),
}
LENGTHS = torch.tensor([2, 3, 0, 1])


def inputs(net, dtype=torch.float32, size=(5, 6)):
    x = torch.randn(3, 4, net.spec.in_channels, *size, dtype=dtype)
    return x, tuple(torch.randn(shape, dtype=dtype) for shape in context_shapes(net.spec, 4, size))


def flat(results):
    return torch.utils._pytree.tree_leaves(results)


@pytest.fixture(autouse=True)
def no_stale_graphs():
    torch._dynamo.reset()


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_compile(name, last_only):
    """One graph, the same bits, gradients included; other lengths need no other graph."""
    net = NETS[name]().eval()
    x, context = inputs(net)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    options = {"context": context, "last_only": last_only}
    got, want = (flat(f(x, lengths=LENGTHS, **options)) for f in (compiled, net))
    assert all(map(torch.equal, got, want))
    parameters = list(net.parameters())
    left, right = (torch.autograd.grad(sum(r.sum() for r in results), parameters) for results in (got, want))
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
    other = LENGTHS.flip(0)
    with torch.compiler.set_stance("fail_on_recompile"):
        assert all(
            map(torch.equal, flat(compiled(x, lengths=other, **options)), flat(net(x, lengths=other, **options)))
        )


def test_compile_with_a_list_of_lengths_and_in_training():
    net = ConvGRU(2, [2, 3], bidirectional=True, dropout=0.5, recurrent_dropout=0.5, zoneout=0.5)
    x, _ = inputs(net)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    y, _ = compiled(x, lengths=[1, 2, 3, 0])
    assert not y[1:, 0].any()
    assert not torch.equal(y, compiled(x, lengths=[1, 2, 3, 0])[0])


def test_compile_a_forecaster_with_a_decoder_and_a_teacher():
    net = Forecaster("gru", 1, 3, patch=2, decoder=True, impl="readable")
    x, targets = torch.randn(2, 2, 1, 4, 4), torch.randn(3, 2, 1, 4, 4)
    forced = torch.rand(3, 2) < 0.5
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    got, want = (flat(f(x, 3, targets=targets, forced=forced)) for f in (compiled, net))
    assert all(map(torch.equal, got, want))


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "non-strict"])
@pytest.mark.parametrize("name", NETS)
def test_export(name, strict):
    """Lengths and context are live inputs of the exported program."""
    net = NETS[name]().eval()
    x, context = inputs(net)
    options = {"lengths": LENGTHS, "context": context}
    program = torch.export.export(net, (x,), options, strict=strict).module()
    for lengths in (LENGTHS, LENGTHS.flip(0)):
        now = {**options, "lengths": lengths}
        assert all(map(torch.equal, flat(program(x, **now)), flat(net(x, **now))))


@pytest.mark.parametrize("name", ["gru", "gru-after", "lstm"])
def test_export_with_dynamic_batch_and_size(name):
    net = NETS[name]().eval()
    x, _ = inputs(net)
    auto = torch.export.Dim.AUTO
    shapes = {"x": {1: auto, 3: auto, 4: auto}, "lengths": {0: auto}}
    program = torch.export.export(net, (x,), {"lengths": LENGTHS}, dynamic_shapes=shapes).module()
    larger, lengths = torch.randn(3, 2, net.spec.in_channels, 9, 8), torch.tensor([1, 3])
    assert torch.equal(program(larger, lengths=lengths)[0], net(larger, lengths=lengths)[0])


@pytest.mark.parametrize("name", NETS)
def test_autocast(name):
    """States and gradients stay float32; context may come in either dtype."""
    net = NETS[name]().eval()
    x, context = inputs(net)
    plain, _ = net(x, lengths=LENGTHS, context=context)
    for given in (context, tuple(c.bfloat16() for c in context)):
        with torch.autocast("cpu", torch.bfloat16):
            results = net(x, lengths=LENGTHS, context=given)
        assert {leaf.dtype for leaf in flat(results)} == {torch.float32}
        assert 0 < (results[0] - plain).abs().max().item() < 0.2
    results[0].sum().backward()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_every_order(name):
    """Reverse, forward, double backward against finite differences, with or without NaN padding."""
    net = NETS[name](dtype=torch.float64).eval()
    x, context = inputs(net, torch.float64, (3, 3))
    x[2:, 0] = float("nan")
    names = [key for key, _ in net.named_parameters()]

    def function(*tensors):
        context, parameters = tensors[: len(shapes)], tensors[len(shapes) :]
        options = {"lengths": LENGTHS, "context": context}
        return tuple(flat(functional_call(net, dict(zip(names, parameters, strict=True)), (x,), options)))

    shapes = context_shapes(net.spec, 4, (3, 3))
    args = tuple(a.detach().clone().requires_grad_() for a in (*context, *net.parameters()))
    assert torch.autograd.gradcheck(function, args, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, args, fast_mode=True)


@pytest.mark.parametrize("name", NETS)
def test_vmap_over_the_batch(name):
    """Each sample with its own length."""
    net = NETS[name]().eval()
    x, _ = inputs(net)
    want = net(x, lengths=LENGTHS)[0]

    def one(sample, length):
        return net(sample[:, None], lengths=length[None])[0][:, 0]

    got = vmap(one, in_dims=(1, 0), out_dims=1)(x, LENGTHS)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_vmap_over_an_ensemble(name):
    nets = [NETS[name]().eval() for _ in range(3)]
    x, context = inputs(nets[0])
    parameters, buffers = stack_module_state(nets)
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def call(parameters, buffers):
        return functional_call(skeleton, (parameters, buffers), (x,), {"lengths": LENGTHS, "context": context})[0]

    got = vmap(call)(parameters, buffers)
    want = torch.stack([net(x, lengths=LENGTHS, context=context)[0] for net in nets])
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_per_sample_gradients(name):
    net = NETS[name]().eval()
    x, _ = inputs(net)
    parameters = {key: p.detach() for key, p in net.named_parameters()}

    def loss(parameters, sample, length):
        return functional_call(net, parameters, (sample[:, None],), {"lengths": length[None]})[0].square().sum()

    got = vmap(grad(loss), in_dims=(None, 1, 0))(parameters, x, LENGTHS)
    for index in (0, 1, 2):
        want = grad(loss)(parameters, x[:, index], LENGTHS[index])
        for key, gradient in want.items():
            torch.testing.assert_close(got[key][index], gradient, rtol=1e-4, atol=1e-5)


def test_forward_mode_equals_reverse():
    net = NETS["lstm"](dtype=torch.float64)
    x, _ = inputs(net, torch.float64)
    direction = torch.randn_like(x)
    y, slope = jvp(lambda x: net(x, lengths=LENGTHS)[0], (x,), (direction,))
    cotangent = torch.randn_like(y)
    (gradient,) = torch.autograd.grad((net(x.requires_grad_(), lengths=LENGTHS)[0] * cotangent).sum(), x)
    torch.testing.assert_close((gradient * direction).sum(), (slope * cotangent).sum())


@pytest.mark.parametrize("name", NETS)
def test_meta_and_empty_batch(name):
    """Shapes without numbers, and no samples at all."""
    net = NETS[name]().eval()
    x, _ = inputs(net)
    shape = net(x, lengths=LENGTHS)[0].shape
    empty, _ = net(x[:, :0], lengths=LENGTHS[:0])
    assert empty.shape == (shape[0], 0, *shape[2:])
    y, _ = copy.deepcopy(net).to("meta")(x.to("meta"), lengths=LENGTHS)
    assert y.is_meta
    assert y.shape == shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NETS)
def test_half_precision(name, dtype):
    """Every padding mode, norm and pooling in half precision on the CPU, gradients included."""
    net = NETS[name](dtype=torch.float64).eval()
    x, _ = inputs(net, torch.float64)
    half = copy.deepcopy(net).to(dtype)
    y, _ = half(x.to(dtype), lengths=LENGTHS)
    assert y.dtype == dtype
    assert (y - net(x, lengths=LENGTHS)[0]).abs().max().item() < 0.1
    y.float().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in half.parameters())
