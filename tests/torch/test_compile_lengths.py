"""torch.compile once for all lengths, batches and images: a layer's sequence is one operator."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN
from convgru_torch.operator import why_not
from convgru_torch.readable import SequenceCall

LENGTHS = (5, 3, 2, 4, 6, 7, 9, 12, 20, 33)
SIZES = {n: (2 + n % 3, 5 + n % 4, 6 + n % 5) for n in LENGTHS} | {5: (4, 7, 8)}
"""By T; of the sizes that the compiler sees first no two are equal, or it takes them as one."""
NETS = {
    "two layers": (lambda: ConvGRU(2, [3, 2]), lambda time, batch: {}),
    "both ways, peepholes, lengths, masks": (
        lambda: ConvLSTM(2, 3, bidirectional="stack", peephole="conv", zoneout=0.2, norm=1),
        lambda time, batch: {"lengths": torch.arange(batch) % time + 1},
    ),
    "last frames, context": (
        lambda: ConvRNN(2, 3, bias=False),
        lambda time, batch: {"last_only": True, "context": (torch.ones(batch, 3, *SIZES[time][1:]),)},
    ),
}


@pytest.fixture(autouse=True)
def no_stale_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def results(call, x, options, parameters):
    """Outputs, states and gradients, with masks of one seed."""
    torch.manual_seed(1)
    leaves = torch.utils._pytree.tree_leaves(call(x, **options))
    return [*leaves, *torch.autograd.grad(sum(a.square().sum() for a in leaves), [x, *parameters])]


@pytest.mark.parametrize("name", NETS)
def test_ten_lengths_compile_once(name):
    make, options = NETS[name]
    net = make()
    parameters = list(net.parameters())
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, fullgraph=True, dynamic=True, backend=counter)
    counts = []
    for time in LENGTHS if name == "two layers" else LENGTHS[:3]:
        batch, *size = SIZES[time]
        x, given = torch.randn(time, batch, 2, *size, requires_grad=True), options(time, batch)
        got, want = (results(call, x, given, parameters) for call in (compiled, net))
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
        counts.append(counter.frame_count)
    assert len(set(counts)) == 1
    assert name != "two layers" or counts[0] == 1


def test_the_operator_keeps_torchs_rules():
    """Shapes and strides as promised, no aliases, gradients registered; for absent tensors too."""
    net = ConvGRU(2, 3, dtype=torch.float64)
    layer = net.layers[0]["fwd"]
    x = torch.randn(4, 2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    seen = []
    original = torch.ops.convgru.layer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.ops.convgru, "layer", lambda *a: seen.append(a) or original(*a), raising=False)
        torch.compile(net, backend="eager", dynamic=True)(x)
    from convgru_torch import operator

    text = operator._text(layer.spec.layers[0], layer.execution)
    arrays = [p.detach().requires_grad_() for p in layer.parameters()]
    state = [torch.zeros(2, 3, 5, 4, dtype=torch.float64)]
    for last_only in (False, True):
        torch.library.opcheck(
            torch.ops.convgru.layer.default,
            (text, True, 0.0, last_only, x, state, arrays, None, None, None, []),
            test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
        )


TRANSFORMS = {
    "vmap": lambda f, x: torch.func.vmap(f)(x),
    "grad": lambda f, x: torch.func.grad(lambda y: f(y).square().sum())(x[0]),
    "jvp": lambda f, x: torch.func.jvp(f, (x[0],), (x[1],))[1],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_inside_of_compiled_functions(name):
    """Operators have no rules for them: the loop is unrolled, as without compiling."""
    net = ConvGRU(2, 3)
    x = torch.randn(2, 3, 1, 2, 5, 4)
    compiled = torch.compile(lambda x: TRANSFORMS[name](lambda y: net(y)[0], x), fullgraph=True, backend="eager")
    want = TRANSFORMS[name](lambda y: net(y)[0], x)
    torch.testing.assert_close(compiled(x), want, rtol=1e-5, atol=1e-5)


def test_where_it_is_not_used():
    """In ordinary calls, exported programs, and where the readable implementation is asked for."""
    net, x = ConvGRU(2, 3).eval(), torch.randn(3, 2, 2, 5, 4)
    layer = net.layers[0]["fwd"]
    call = SequenceCall(layer.spec.layers[0], layer.current(), x, (torch.zeros(2, 3, 5, 4),))
    assert why_not(call) is not None
    program = torch.export.export(net, (x,))
    assert "convgru" not in str(program.graph)
    counter = CompileCounterWithBackend("eager")
    for impl, nodes in (("auto", False), ("readable", True)):
        torch._dynamo.reset()
        counter.clear()
        torch.compile(net.set_execution(impl=impl), fullgraph=True, backend=counter)(x)
        targets = {str(node.target) for graph in counter.graphs for node in graph.graph.nodes}
        assert any("sigmoid" in target for target in targets) == nodes
        assert any("convgru" in target for target in targets) != nodes
