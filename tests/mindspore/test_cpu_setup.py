"""The CPU setup: quiet, in time, of MindSpore's library alone, optional, in any import order."""

from __future__ import annotations

import importlib.util
import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mindspore", reason="MindSpore is not installed")

ROOT = Path(__file__).parents[2]
SWITCH = "CONVGRU_MINDSPORE_CPU_SETUP"
X86 = platform.machine().lower() in ("x86_64", "amd64")
CALLS = {
    "torch": "import torch; torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3))",
    "jax": "import jax, jax.numpy as jnp; jax.lax.conv(jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3)), (1, 1), 'SAME')",
    "mindspore": (
        "import mindspore as ms, numpy as np, convgru.mindspore as cm; "
        "y, s = cm.ConvGRU(3, 4)(ms.Tensor(np.ones((2, 1, 3, 8, 8), np.float32))); y.asnumpy()"
    ),
}


def run(code: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "backends")))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GLOG_v", SWITCH, "ONEDNN_MAX_CPU_ISA")
    }
    environment |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", **extra}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)


def test_the_first_call_works_and_is_quiet() -> None:
    done = run(CALLS["mindspore"])
    assert done.returncode == 0, done.stderr
    assert "NumPy 1.x" not in done.stderr
    assert "SystemError" not in done.stderr


def test_the_environment_is_left_to_the_user() -> None:
    code = (
        "import os; before = dict(os.environ); import convgru.mindspore; after = dict(os.environ); "
        "print(sorted(n for n in after if ('DNNL' in n) or (n == 'GLOG_v')), after['GLOG_v'])"
    )
    assert run(code).stdout.strip() == "['GLOG_v'] 3"
    assert run(code, GLOG_v="2").stdout.strip() == "['GLOG_v'] 2"


@pytest.mark.skipif(not X86, reason="oneDNN is capped on x86 alone")
def test_the_cap_holds_for_the_library_that_mindspore_uses() -> None:
    done = run(
        CALLS["mindspore"] + "; from convgru_mindspore import cpu_setup; "
        "print(cpu_setup.library().dnnl_get_effective_cpu_isa() & ~0x7, cpu_setup.NOTES[0])"
    )
    assert done.stdout.startswith("0 MindSpore's oneDNN was set up in time"), done.stdout + done.stderr


@pytest.mark.skipif(not X86, reason="oneDNN is capped on x86 alone")
def test_the_cap_keeps_the_reference_convolution_away() -> None:
    """What oneDNN says it ran; with AVX-512 and no cap its layout wrapper runs the reference."""
    said = run(CALLS["mindspore"], ONEDNN_VERBOSE="1").stdout
    ran = [line for line in said.splitlines() if ",exec,cpu,convolution," in line]
    assert ran, said
    assert not any("ref:any" in line for line in ran), ran


@pytest.mark.skipif(not X86, reason="oneDNN is capped on x86 alone")
def test_the_users_own_cap_is_left_alone() -> None:
    done = run(
        CALLS["mindspore"] + "; from convgru_mindspore import cpu_setup; "
        "print(cpu_setup.library().dnnl_get_effective_cpu_isa(), cpu_setup.NOTES[0])",
        ONEDNN_MAX_CPU_ISA="SSE41",
    )
    assert done.stdout.strip() == "1 MindSpore's oneDNN is left to ONEDNN_MAX_CPU_ISA=SSE41", done.stdout + done.stderr


@pytest.mark.skipif(not X86, reason="oneDNN is capped on x86 alone")
def test_too_late_a_cap_warns() -> None:
    """The library's answer is played back: whether AVX-512 is there must not decide the test."""
    code = """
import warnings
from convgru_mindspore import cpu_setup
class Late:
    def dnnl_set_max_cpu_isa(self, mask): return 2
    def dnnl_get_effective_cpu_isa(self): return 0xE7
cpu_setup.library = Late
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    status = cpu_setup.cap_isa()
print([str(w.message) == status and w.category is RuntimeWarning for w in seen], status)
"""
    said = run(code).stdout
    assert said.startswith("[True] convgru.mindspore was imported after MindSpore's first convolution, too late"), said


LEFT_ALONE = """
import os, sys
from unittest import mock
import mindspore as ms
with mock.patch("ctypes.CDLL", side_effect=AssertionError("the library was loaded")):
    with mock.patch.object(ms.ops, "add", side_effect=AssertionError("an operation was run")):
        from convgru_mindspore import backend, cpu_setup
print("GLOG_v" in os.environ, backend.notes()[0])
"""


def test_the_switch_leaves_mindspore_alone() -> None:
    done = run(LEFT_ALONE, **{SWITCH: "0"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"False MindSpore is left as it is ({SWITCH}=0)"), done.stdout
    done = run(LEFT_ALONE, **{SWITCH: "1"})
    assert "AssertionError" in done.stderr, "the setup is what this test is about"


def test_a_switch_that_is_neither_on_nor_off_is_an_error() -> None:
    done = run("import convgru.mindspore", **{SWITCH: "off"})
    assert f"ValueError: {SWITCH} expected 0 or 1, got 'off'" in done.stderr


@pytest.mark.parametrize("order", list(itertools.permutations(["torch", "jax", "mindspore"])), ids="-".join)
def test_frameworks_share_a_process_in_any_order(order: tuple[str, ...]) -> None:
    for name in ("torch", "jax"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    imports = "; ".join(CALLS[name].split(";")[0] for name in order)
    done = run(
        "\n".join([imports, *(CALLS[name] for name in order), *(CALLS[name] for name in order), "print('done')"])
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"


INTERRUPTED = """
import os, signal, time
import convgru
from convgru import registry
weights = convgru.init(convgru.network("gru", 1, 2))
registry.get("mindspore").execute(weights, convgru.parity.cases.make_problem(weights, (4, 4), "float32").x)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_is_pythons_after_a_run() -> None:
    """MindSpore's handler would end the process by SIGTERM, and leave temporary files."""
    done = run(INTERRUPTED)
    assert done.stdout.strip() == "interrupted", (done.returncode, done.stderr)
