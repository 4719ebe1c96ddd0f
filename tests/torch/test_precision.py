"""precise(): TF32 off and restored, whichever generation of settings was used; devices; CUDA."""

import subprocess
import sys

import pytest
import torch

import convgru
from convgru.torch import ConvGRU, ConvLSTM, Forecaster, precise
from convgru_torch import backend
from convgru_torch.precision import tf32

SETTINGS = {
    "nothing": "pass",
    "old convolutions off": "b.cudnn.allow_tf32 = False",
    "old products on": "b.cuda.matmul.allow_tf32 = True",
    "products medium": "torch.set_float32_matmul_precision('medium')",
    "everything tf32": "b.fp32_precision = 'tf32'",
    "new convolutions": "b.cudnn.conv.fp32_precision = 'ieee'",
    "new products": "b.cuda.matmul.fp32_precision = 'tf32'",
    "benchmark": "b.cudnn.benchmark = True",
}
PROGRAM = """
import torch
from convgru.torch import precise
from convgru_torch.precision import tf32

b = torch.backends
{setting}

def ask(question):
    try:
        return question()
    except RuntimeError:
        return "torch refuses"

def settings():
    holders = (b, b.cudnn, b.cudnn.conv, b.cudnn.rnn, b.cuda.matmul, b.mkldnn, b.mkldnn.conv, b.mkldnn.matmul)
    return [
        *(holder.fp32_precision for holder in holders),
        ask(lambda: b.cudnn.allow_tf32),
        ask(lambda: b.cuda.matmul.allow_tf32),
        ask(torch.get_float32_matmul_precision),
        b.cudnn.deterministic,
        b.cudnn.benchmark,
    ]

before = settings()
try:
    with precise():
        assert tf32() == {{"convolutions": False, "matrix products": False}}
        assert settings()[2:5] == ["ieee"] * 3
        assert settings()[-2:] == [True, False]
        for old, now, safe in zip(before[8:11], settings()[8:11], [False, False, "highest"]):
            assert now == safe or old == "torch refuses", (old, now)
        raise KeyError("put back after an error too")
except KeyError:
    pass
assert settings() == before, (before, settings())
"""


@pytest.mark.parametrize("name", SETTINGS)
def test_precise_puts_everything_back(name):
    """In a process of its own: the two generations of settings cannot both be untouched twice."""
    program = PROGRAM.format(setting=SETTINGS[name])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr[-800:]


def environment():
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_devices_and_versions():
    assert "cpu" in backend.devices()
    assert backend.versions()["torch"] == torch.__version__
    assert all(isinstance(note, str) for note in backend.notes())


NETS = {
    "gru": lambda: ConvGRU(3, 8),
    "lstm": lambda: ConvLSTM(3, 8, 4),
    "forecaster": lambda: Forecaster("gru", 3, 8, patch=2),
}


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")
    return torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETS)
def test_gpu_device_follows_input_and_parameters(gpu, name):
    net = NETS[name]()
    x = torch.randn(4, 2, 3, 16, 16)
    args = (2,) if name == "forecaster" else ()
    want, _ = net(x, *args)
    with precise():
        y, state = net.to(gpu)(x.to(gpu), *args)
    leaves = [y, *torch.utils._pytree.tree_leaves(state)]
    assert {leaf.device.type for leaf in leaves} == {"cuda"}
    torch.testing.assert_close(y.cpu(), want, rtol=1e-4, atol=1e-4)
    assert convgru.extract(net).equal(convgru.extract(net.cpu()))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gpu_autocast(gpu, dtype):
    net, x = ConvGRU(3, 8, device=gpu), torch.randn(4, 2, 3, 16, 16, device=gpu)
    want, _ = net(x)
    with torch.autocast("cuda", dtype):
        y, (h,) = net(x)
    assert y.dtype == h.dtype == torch.float32
    assert 0 < (y - want).abs().max().item() < 0.1
    y.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.gpu
def test_gpu_tf32_is_what_precise_turns_off(gpu):
    """On hardware with TF32 the two differ, and the precise one is nearer to float64."""
    if torch.cuda.get_device_capability(gpu)[0] < 8:
        pytest.skip("this GPU has no TF32")
    net, x = ConvGRU(32, 64, 5, device=gpu), torch.randn(4, 2, 32, 32, 32, device=gpu)
    with precise(), torch.no_grad():
        exact = net(x)[0]
        ref = net.double()(x.double())[0]
        net.float()
    conv = torch.backends.cudnn.conv
    before, conv.fp32_precision = conv.fp32_precision, "tf32"
    try:
        assert tf32()["convolutions"]
        with torch.no_grad():
            fast = net(x)[0]
    finally:
        conv.fp32_precision = before
    assert (exact - ref).abs().max() * 10 < (fast - ref).abs().max()
