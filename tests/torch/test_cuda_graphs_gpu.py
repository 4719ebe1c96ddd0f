"""CUDA graphs on a GPU: for each device and stream, forward and back, and from threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN
from convgru_torch import graphs

pytestmark = pytest.mark.gpu

NETS = {
    "gru": lambda **o: ConvGRU(2, [4, 3], **o),
    "lstm": lambda **o: ConvLSTM(2, 3, peephole="hadamard", bidirectional=True, **o),
    "rnn": lambda **o: ConvRNN(2, 3, **o),
}


@pytest.fixture(autouse=True)
def recordings():
    graphs.forget()
    yield
    graphs.forget()


def devices(count):
    """The first so many devices; skips, with the reason, where there are fewer."""
    if (there := torch.cuda.device_count()) < count:
        pytest.skip(f"torch {torch.__version__} sees {there} CUDA devices, not {count}")
    return [torch.device("cuda", index) for index in range(count)]


def make(name, device):
    """A network with graphs, and the readable one with the same weights."""
    net = NETS[name](dtype=torch.float64, device=device, cuda_graphs=True)
    readable = NETS[name](dtype=torch.float64, device=device, impl="readable")
    readable.load_state_dict(net.state_dict())
    return net, readable


def results(net, x, **call):
    y, final = net(x, **call)
    leaves = [y, *torch.utils._pytree.tree_leaves(final)]
    return [*leaves, *torch.autograd.grad(sum(a.square().sum() for a in leaves), [x, *net.parameters()])]


def frames(device):
    return torch.randn(4, 2, 2, 9, 8, dtype=torch.float64, device=device, requires_grad=True)


@pytest.mark.parametrize("count", [1, 2], ids=["a device", "two devices"])
@pytest.mark.parametrize("name", NETS)
def test_it_changes_nothing(name, count):
    """Recorded, then run with other numbers, on the default stream and beside it."""
    for device in devices(count):
        net, readable = make(name, device)
        for stream in (torch.cuda.default_stream(device), torch.cuda.Stream(device)):
            torch.cuda.synchronize(device)
            with torch.cuda.stream(stream):
                for lengths in (None, [4, 2], [3, 4]):
                    x = frames(device)
                    torch.testing.assert_close(results(net, x, lengths=lengths), results(readable, x, lengths=lengths))
                    with torch.no_grad():
                        torch.testing.assert_close(net(x, lengths=lengths), readable(x, lengths=lengths))
            torch.cuda.synchronize(device)
        assert net.layers[0]["fwd"].ran == ("fast", "")


def test_gradients_later_and_from_threads():
    """Two calls before their gradients; then the same recordings used by several threads."""
    (device,) = devices(1)
    net, readable = make("gru", device)
    xs = [frames(device) for _ in range(4)]
    loss, want = (sum(each(x)[0].square().sum() for x in xs) for each in (net, readable))
    torch.testing.assert_close(torch.autograd.grad(loss, xs), torch.autograd.grad(want, xs))
    expected = [results(readable, x) for x in xs]
    with ThreadPoolExecutor(len(xs)) as threads:
        for _ in range(5):
            torch.testing.assert_close(list(threads.map(lambda x: results(net, x), xs)), expected)
