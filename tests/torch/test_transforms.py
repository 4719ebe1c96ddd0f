"""Transforms of modules: compile, export, autocast, double backward, torch.func, forward AD."""

import copy

import pytest
import torch
from torch.func import functional_call, grad, jvp, stack_module_state, vmap

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, Forecaster, run

NETS = {
    "gru": lambda **o: ConvGRU(2, [3, 2], kernel_size=[3, 2], **o),
    "gru-after": lambda **o: ConvGRU(2, 3, reset="after", **o),
    "lstm": lambda **o: ConvLSTM(2, 3, **o),
    "rnn": lambda **o: ConvRNN(2, 3, bias=False, **o),
    "forecaster": lambda **o: Forecaster("gru", 2, 3, patch=2, **o),
}
SMALL = {
    "gru": lambda: ConvGRU(1, 2, kernel_size=2, dtype=torch.float64),
    "gru-after": lambda: ConvGRU(1, 2, reset="after", dtype=torch.float64),
    "lstm": lambda: ConvLSTM(1, 1, kernel_size=(2, 1), dtype=torch.float64),
    "rnn": lambda: ConvRNN(1, 2, dtype=torch.float64),
    "forecaster": lambda: Forecaster("gru", 1, 1, patch=(1, 2), dtype=torch.float64),
}


def arguments(net, x):
    return (x, 2) if isinstance(net, Forecaster) else (x,)


def flat(results):
    """Output and state in one list."""
    return torch.utils._pytree.tree_leaves(results)


@pytest.fixture(autouse=True)
def no_stale_graphs():
    torch._dynamo.reset()


@pytest.mark.parametrize("name", NETS)
def test_compile(name):
    """One graph, the same bits as the readable loop, gradients included."""
    net = NETS[name]().set_execution(impl="readable")
    args = arguments(net, torch.randn(3, 2, 2, 4, 6))
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    got, want = flat(compiled(*args)), flat(net(*args))
    assert all(map(torch.equal, got, want))
    parameters = list(net.parameters())
    left, right = (torch.autograd.grad(sum(r.sum() for r in results), parameters) for results in (got, want))
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def test_compile_with_state_does_not_recompile():
    net, x = ConvLSTM(2, 3), torch.randn(3, 2, 2, 4, 4)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    _, state = compiled(x, net(x)[1])
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(2):
            y, state = compiled(x, state)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "non-strict"])
@pytest.mark.parametrize("name", NETS)
def test_export(name, strict):
    """Static time, a state tuple, bit-equal to the readable loop; the exported state is live."""
    net = NETS[name]().set_execution(impl="readable").eval()
    args = arguments(net, torch.randn(3, 2, 2, 4, 6))
    state = net(*args)[1]
    program = torch.export.export(net, (*args, state), strict=strict).module()
    zeros = torch.utils._pytree.tree_map(torch.zeros_like, state)
    for given in (state, zeros):
        assert all(map(torch.equal, flat(program(*args, given)), flat(net(*args, given))))
    assert not torch.equal(program(*args, state)[0], program(*args, zeros)[0])


@pytest.mark.parametrize("name", NETS)
def test_export_with_dynamic_batch_and_size(name):
    net = NETS[name]().set_execution(impl="readable").eval()
    args = arguments(net, torch.randn(3, 2, 2, 4, 6))
    auto = torch.export.Dim.AUTO
    shapes = ({1: auto, 3: auto, 4: auto}, *[None] * (len(args) - 1))
    program = torch.export.export(net, args, dynamic_shapes=shapes).module()
    larger = arguments(net, torch.randn(3, 5, 2, 8, 10))
    assert torch.equal(program(*larger)[0], net(*larger)[0])


@pytest.mark.parametrize("name", NETS)
def test_autocast(name):
    """Convolutions in bfloat16, states and gradients in float32, for either input dtype."""
    net = NETS[name]()
    x = torch.randn(3, 2, 2, 4, 6)
    plain, _ = net(*arguments(net, x))
    for given in (x, x.bfloat16()):
        with torch.autocast("cpu", torch.bfloat16):
            y, state = net(*arguments(net, given))
            net(*arguments(net, given), state)
        assert {leaf.dtype for leaf in flat((y, state))} == {torch.float32}
        difference = (y - plain).abs().max().item()
        assert 0 < difference < 0.1
    y.sum().backward()
    assert all(p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all() for p in net.parameters())


def test_autocast_under_compile():
    net, x = NETS["gru"](), torch.randn(3, 2, 2, 4, 4)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        got, want = flat(compiled(x)), flat(net(x))
    assert all(map(torch.equal, got, want))
    assert not torch.equal(want[0], net(x)[0])


def test_autocast_leaves_float64_alone():
    net, x = ConvGRU(2, 3, dtype=torch.float64), torch.randn(2, 1, 2, 4, 4, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(x)[0], net.double()(x)[0])
        with pytest.raises(TypeError, match=r"expected x of dtype float64"):
            net(x.float())


def function_of(net, x):
    """The network as a function of tensors alone: input and every parameter."""
    names = [name for name, _ in net.named_parameters()]

    def function(x, *parameters):
        return tuple(flat(functional_call(net, dict(zip(names, parameters, strict=True)), arguments(net, x))))

    return function, (x, *(p.detach().clone().requires_grad_() for p in net.parameters()))


@pytest.mark.parametrize("name", SMALL)
def test_gradients_of_every_order(name):
    """Reverse, forward, and double backward against finite differences, in float64."""
    net = SMALL[name]()
    function, args = function_of(net, torch.randn(2, 1, 1, 2, 2, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(function, args, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, args, fast_mode=True)


@pytest.mark.parametrize("name", NETS)
def test_vmap_over_the_batch(name):
    net = NETS[name]()
    x = torch.randn(3, 4, 2, 4, 6)
    want = net(*arguments(net, x))[0]
    got = vmap(lambda sample: net(*arguments(net, sample[:, None]))[0][:, 0], in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_vmap_over_an_ensemble(name):
    nets = [NETS[name]() for _ in range(3)]
    x = torch.randn(3, 2, 2, 4, 6)
    parameters, buffers = stack_module_state(nets)
    skeleton = copy.deepcopy(nets[0]).to("meta")

    def call(parameters, buffers):
        return functional_call(skeleton, (parameters, buffers), arguments(skeleton, x))[0]

    got = vmap(call)(parameters, buffers)
    want = torch.stack([net(*arguments(net, x))[0] for net in nets])
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_per_sample_gradients(name):
    """Grad under vmap equals one backward pass for each sample."""
    net = NETS[name]()
    x = torch.randn(3, 4, 2, 4, 6)
    parameters = {key: p.detach() for key, p in net.named_parameters()}

    def loss(parameters, sample):
        return functional_call(net, parameters, arguments(net, sample[:, None]))[0].square().sum()

    got = vmap(grad(loss), in_dims=(None, 1))(parameters, x)
    for index in range(4):
        want = torch.autograd.grad(loss(dict(net.named_parameters()), x[:, index]), list(net.parameters()))
        for key, gradient in zip(parameters, want, strict=True):
            torch.testing.assert_close(got[key][index], gradient, rtol=1e-4, atol=1e-5)


def test_forward_mode_equals_reverse():
    net = ConvLSTM(2, 3, dtype=torch.float64)
    x, direction = torch.randn(2, 3, 1, 2, 4, 4, dtype=torch.float64)
    y, slope = jvp(lambda x: net(x)[0], (x,), (direction,))
    cotangent = torch.randn_like(y)
    (gradient,) = torch.autograd.grad((net(x.requires_grad_())[0] * cotangent).sum(), x)
    torch.testing.assert_close((gradient * direction).sum(), (slope * cotangent).sum())


def test_the_pure_function_is_what_the_module_runs():
    net, x = ConvGRU(2, [3, 2]), torch.randn(3, 2, 2, 4, 4)
    y, state = run(net.spec, dict(net.named_parameters()), x)
    assert all(map(torch.equal, flat((y, state)), flat(net(x))))


def test_retained_graphs_and_repeated_backward():
    """Nothing that is saved for backward is overwritten."""
    net, x = ConvLSTM(2, 3), torch.randn(3, 1, 2, 4, 4)
    y = net(x)[0].square().sum()
    first = torch.autograd.grad(y, list(net.parameters()), retain_graph=True)
    second = torch.autograd.grad(y, list(net.parameters()))
    assert all(map(torch.equal, first, second))


def test_truncated_backpropagation():
    """A detached state begins a new graph: the second part's gradient excludes the first input."""
    net, x = ConvGRU(2, 3), torch.randn(4, 1, 2, 4, 4, requires_grad=True)
    _, (h,) = net(x[:2])
    net(x[2:], (h.detach(),))[0].sum().backward()
    assert not x.grad[:2].any()
    assert x.grad[2:].all(dim=0).any()


def test_data_parallel_replicas_share_nothing():
    """Replicas hold plain tensors as parameters; on CPU, DataParallel calls the module itself."""
    from torch.nn.parallel import DataParallel

    net, x = ConvGRU(2, 3, batch_first=True), torch.randn(4, 3, 2, 4, 4)
    assert torch.equal(DataParallel(net)(x)[0], net(x)[0])
    replica = net._replicate_for_data_parallel()
    assert replica.arrays().keys() == net.arrays().keys()
