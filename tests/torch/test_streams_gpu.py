"""Two directions on two streams of a GPU: the numbers are those of one stream."""

import pytest
import torch

from convgru.torch import ConvGRU, ConvLSTM
from convgru_torch import graphs, precision, streams

pytestmark = pytest.mark.gpu

NETS = {
    "layer": lambda **o: ConvGRU(4, [32, 32], bidirectional=True, **o),
    "stack": lambda **o: ConvLSTM(4, [32, 16], bidirectional="stack", merge="sum", **o),
}


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")
    graphs.forget()
    yield torch.device("cuda")
    graphs.forget()


def results(net, x):
    """Outputs, final states and gradients, the memory between used for something else."""
    y, final = net(x)
    leaves = [y, *torch.utils._pytree.tree_leaves(final)]
    found = [*leaves, *torch.autograd.grad(sum(a.float().square().sum() for a in leaves), [x, *net.parameters()])]
    del y, final, leaves
    torch.full((1 << 24,), float("nan"), device=x.device)
    return found


def frames(gpu, dtype, batch=4):
    return torch.randn(12, batch, 4, 48, 48, dtype=dtype, device=gpu, requires_grad=True)


@pytest.mark.parametrize("options", [{}, {"cuda_graphs": True}, {"memory": "lean"}, {"impl": "readable"}], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_it_changes_nothing(name, options, gpu, monkeypatch):
    """Many calls, so that one stream overtakes the other where nothing holds it."""
    dtype = torch.float32
    net = NETS[name](device=gpu, dtype=dtype, **options)
    xs = [frames(gpu, dtype, batch) for batch in (4, 1, 4)]
    with precision.precise():
        want = [results(net, x) for x in xs]
        monkeypatch.setattr(streams, "TWO", True)
        for _ in range(5):
            got = [results(net, x) for x in xs]
            for a, b in zip(got, want, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NETS)
def test_in_a_graph_of_the_users(name, gpu, monkeypatch):
    """What forks from a stream that is recorded, and joins it again, is recorded with it."""
    monkeypatch.setattr(streams, "TWO", True)
    net = NETS[name](device=gpu)
    x = frames(gpu, torch.float32).detach()
    with precision.precise(), torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                net(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            y, _ = net(x)
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.testing.assert_close(y, net.set_execution(impl="readable")(x)[0], rtol=1e-4, atol=1e-4)
