"""Triton's kernels on a GPU, compiled: against torch's operations on the same convolutions."""

import pytest
import torch

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN
from convgru_torch import precision, sequence_plan
from convgru_torch.accelerator import pointwise

pytestmark = pytest.mark.gpu

NETS = {
    "gru": lambda c, h, **o: ConvGRU(c, h, **o),
    "gru-after": lambda c, h, **o: ConvGRU(c, h, reset="after", **o),
    "gru-hard": lambda c, h, **o: ConvGRU(c, h, activation="leaky_relu", recurrent_activation="hard_sigmoid", **o),
    "lstm": lambda c, h, **o: ConvLSTM(c, h, **o),
    "lstm-peephole": lambda c, h, **o: ConvLSTM(c, h, peephole="hadamard", **o),
    "lstm-image": lambda c, h, **o: ConvLSTM(c, h, peephole="hadamard", state_size=(17, 12), **o),
    "rnn": lambda c, h, **o: ConvRNN(c, h, **o),
    "rnn-relu": lambda c, h, **o: ConvRNN(c, h, activation="relu", **o),
}


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")
    return torch.device("cuda")


def results(net, x, lengths):
    """Outputs, final states, and gradients of all parameters."""
    y, final = net(x, lengths=lengths)
    leaves = torch.utils._pytree.tree_leaves(final)
    wide = torch.promote_types(y.dtype, torch.float32)
    total = (y.to(wide) * torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape)).sum()
    total = total + sum(a.to(wide).square().sum() for a in leaves)
    return [y, *leaves, *torch.autograd.grad(total, net.parameters())]


def test_triton_is_what_runs(gpu):
    assert pointwise.why_not_triton("cuda") is None
    net = ConvGRU(2, 3, device=gpu)
    net(torch.randn(3, 2, 2, 8, 8, device=gpu))
    assert net.layers[0]["fwd"].ran == ("fast", "")


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_kernels(name, dtype, last, gpu, monkeypatch):
    """Odd and even widths, with and without padding, both kinds of memory, states in float32."""
    monkeypatch.setattr(sequence_plan, "channels_last", lambda dtype: last)
    eps = torch.finfo(dtype).eps
    for hidden, memory, lengths in ((5, "full", [4, 2]), (32, "full", None), (16, "lean", [3, 4])):
        wide = {"state_dtype": torch.float32} if dtype.itemsize == 2 and hidden != 32 else {}
        net = NETS[name](3, hidden, dtype=dtype, device=gpu, impl="fast", memory=memory, **wide)
        x = torch.randn(4, 2, 3, 17, 12, device=gpu, dtype=dtype)
        with precision.precise():
            got = results(net, x, lengths)
            with monkeypatch.context() as without:
                without.setattr(pointwise, "why_not_triton", lambda device: "torch's operations are asked for")
                want = results(net, x, lengths)
        for a, b in zip(got, want, strict=True):
            error = (a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1)
            assert error < 64 * eps, (hidden, memory, lengths)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_more_elements_than_32_bits_count(last, gpu, monkeypatch):
    """A frame of 2**31 gates: its last sample has the numbers that it has alone."""
    if torch.cuda.mem_get_info(gpu)[0] < 40 << 30:
        pytest.skip("needs 40 GB of memory")
    monkeypatch.setattr(sequence_plan, "channels_last", lambda dtype: last)
    net, x = ConvLSTM(1, 64, device=gpu, dtype=torch.bfloat16), torch.randn(2, 8, 1, 1024, 1024).bfloat16().to(gpu)
    with torch.no_grad():
        (h, c) = net(x, last_only=True)[1][0]
        want = net(x[:, -1:], last_only=True)[1][0]
    for got, one in zip((h, c), want, strict=True):
        torch.testing.assert_close(got[-1:], one, rtol=0.05, atol=0.05)
