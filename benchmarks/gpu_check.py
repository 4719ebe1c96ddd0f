"""First contact with a GPU: what is there, and every kind of layer once, in less than a minute.

python benchmarks/gpu_check.py [cuda | cpu]     the CPU tries the script itself
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import torch

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN, precise
from convgru_torch import backend, graphs, streams
from convgru_torch.accelerator import pointwise

PACKAGES = ("torch", "triton", "jax", "jaxlib", "flax", "numpy", "ml_dtypes", "safetensors", "pytest", "hypothesis")
NETS: dict[str, Callable[..., Any]] = {
    "gru": lambda **o: ConvGRU(3, [32, 16], **o),
    "gru, reset after": lambda **o: ConvGRU(3, 32, reset="after", **o),
    "lstm, peepholes": lambda **o: ConvLSTM(3, 32, peephole="hadamard", **o),
    "rnn, two directions": lambda **o: ConvRNN(3, 32, bidirectional=True, **o),
}
DTYPES = (torch.float32, torch.bfloat16, torch.float64)
WRONG = 200.0
"""More eps of the largest number than this are a fault: rounding stays far below."""


def results(net: Any, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, final states and gradients of all parameters, in float64 on the CPU."""
    y, final = net(x, lengths=[4, 2])
    leaves = [y, *torch.utils._pytree.tree_leaves(final)]
    wide = [leaf.to(torch.promote_types(leaf.dtype, torch.float32)) for leaf in leaves]
    total = sum((a * torch.linspace(-1, 1, a.numel(), device=a.device).view(a.shape)).sum() for a in wide)
    return [a.detach().double().cpu() for a in (*leaves, *torch.autograd.grad(total, [*net.parameters()]))]


def layer(name: str, dtype: torch.dtype, device: str, **options: Any) -> str:
    """Compare a network on the device with the readable one in float64 on the CPU."""
    torch.manual_seed(0)
    net, x = NETS[name](device=device, dtype=dtype, **options), torch.randn(4, 2, 3, 17, 12).to(dtype)
    readable = NETS[name](dtype=torch.float64, impl="readable")
    readable.load_state_dict({key: value.double() for key, value in net.state_dict().items()})
    with precise():
        want = results(readable, x.double())
        for _ in range(2):  # what is recorded in the first call runs in the second
            got = results(net, x.to(device))
    errors = [float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in zip(got, want, strict=True)]
    worst = max(errors) / torch.finfo(dtype).eps
    if not worst <= WRONG:
        raise AssertionError(f"off by {worst:.3g} eps")
    return f"{worst:.2f} eps; ran {net.layers[0]['fwd'].ran}"


def two_streams(device: str) -> str:
    """The same with the second direction on a stream of its own."""
    streams.TWO = True
    try:
        return layer("rnn, two directions", torch.float32, device)
    finally:
        streams.TWO = False


def there(device: str) -> str:
    """Versions and devices."""
    names = [f"{name} {metadata.version(name)}" for name in PACKAGES if _installed(name)]
    found = ", ".join(f"{name} ({what})" for name, what in backend.devices().items())
    return f"{', '.join(names)}; {backend.versions()}; {found}"


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def triton(device: str) -> str:
    """Whether the kernels run; on a GPU nothing else will do."""
    reason = pointwise.why_not_triton(device)
    if reason is not None and device != "cpu":
        raise AssertionError(reason)
    return reason or "runs"


def main(device: str) -> int:
    """Do every check, whatever became of those before; the exit code says whether one failed."""
    checks: dict[str, Callable[[], str]] = {"there": partial(there, device), "Triton": partial(triton, device)}
    for name in NETS:
        checks |= {f"{name} {str(dtype)[6:]}": partial(layer, name, dtype, device) for dtype in DTYPES}
    checks["lean"] = partial(layer, "gru", torch.bfloat16, device, memory="lean")
    if device != "cpu":
        for name in NETS:
            checks[f"{name}, CUDA graphs"] = partial(layer, name, torch.bfloat16, device, cuda_graphs=True)
        checks["two streams"] = partial(two_streams, device)
    failed = 0
    for name, check in checks.items():
        begin = time.perf_counter()
        try:
            said = check()
        except Exception as error:
            failed += 1
            said = f"FAILED: {type(error).__name__}: {error}"
            traceback.print_exc()
        print(f"- {name}: {said} ({time.perf_counter() - begin:.1f} s)", flush=True)
    graphs.forget()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "cuda"))
