"""Triton's kernels in its interpreter: what a launch makes of tensors, sizes and odd numbers."""

import pytest
import torch
from support import accelerated
from support.accelerated import needs_triton

from convgru.torch import ConvGRU, ConvLSTM
from convgru_torch.accelerator.frames import Frames
from convgru_torch.execution import Execution
from convgru_torch.implementations import run_layer
from convgru_torch.ops import ACTIVATIONS

pytestmark = needs_triton
NETS = {
    "gru": lambda: ConvGRU(2, 3, dtype=torch.float64),
    "gru-after": lambda: ConvGRU(2, 3, reset="after", dtype=torch.float64),
    "lstm": lambda: ConvLSTM(2, 3, peephole="hadamard", dtype=torch.float64),
}


@pytest.fixture(params=[False, True], ids=["contiguous", "channels_last"])
def launchers(request, monkeypatch):
    accelerated.force(monkeypatch, request.param)
    with accelerated.interpreted(monkeypatch) as found:
        yield found


def compare(name, scatter):
    """Results and gradients of a layer whose arrays ``scatter`` makes, beside the readable ones."""
    net, x = NETS[name](), torch.randn(3, 2, 2, 3, 3, dtype=torch.float64)
    arrays = {key: scatter(torch.randn_like(a)).requires_grad_() for key, a in net.layers[0]["fwd"].current().items()}
    valid = torch.tensor([[True, True, True], [True, False, False]]).t()[..., None, None, None]
    assert not valid.is_contiguous()
    state = torch.randn(2, 2, 3, 3, 3, dtype=torch.float64)
    given = net.spec.layers[0], arrays, x, tuple(state) if name == "lstm" else state[0]
    found = []
    for impl in ("fast", "readable"):
        y, final = run_layer(*given, valid=valid, execution=Execution(impl=impl))
        leaves = [y, *(final if name == "lstm" else [final])]
        found.append([*leaves, *torch.autograd.grad(sum(a.square().sum() for a in leaves), [*arrays.values()])])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", NETS)
def test_numbers_that_lie_apart_in_memory(name, launchers):
    """Kernels read biases, peepholes and rows of a mask one number after another."""
    compare(name, lambda a: a.repeat_interleave(2, -1)[..., ::2])


@pytest.mark.parametrize("name", NETS)
def test_offsets_of_64_bits(name, launchers, monkeypatch):
    monkeypatch.setattr(launchers, "INT32", 0)
    compare(name, torch.clone)


def test_where_offsets_have_64_bits(launchers):
    """Where 32 would not do for the last program, whose lanes are not all used."""
    seen = []

    class Kernel:
        def __getitem__(self, grid):
            return lambda *_, **names: seen.append(names["WIDE"])

    for count in ((1 << 29) - 1024, (1 << 29) - 1023):
        frames = Frames(1, count, False, "sigmoid", "tanh", torch.float32)
        launchers._launch(Kernel(), frames, torch.empty(count, device="meta"), (), "count")
    assert seen == [False, True]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_no_number(name, launchers):
    """It stays so, where minimum and maximum would make a number of it."""
    a = torch.tensor([float("nan"), 1.0]).view(1, 1, 1, 2)
    out = torch.empty_like(a)
    launchers.rnn(Frames(1, 2, False, "sigmoid", name, torch.float32), a, 0 * a, None, a, None, out, None)
    assert out.isnan().flatten().tolist() == [True, False]
