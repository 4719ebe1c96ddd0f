"""Prepare MindSpore for the CPU: log level, NumPy 2's first error, oneDNN's instruction set.

``CONVGRU_MINDSPORE_CPU_SETUP=0`` in the environment leaves MindSpore as it is; see
docs/mindspore.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import platform
import signal
import threading
import warnings
from pathlib import Path

SWITCH = "CONVGRU_MINDSPORE_CPU_SETUP"
"""The environment variable; 1, the default, or 0."""


def wanted() -> bool:
    """Whether to prepare MindSpore at all.

    Raises ValueError for a value of the variable that is neither 0 nor 1.
    """
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH} expected 0 or 1, got {value!r}")
    return value == "1"


WANTED = wanted()
if WANTED:
    os.environ.setdefault("GLOG_v", "3")  # before the import: MindSpore reads it once

import mindspore as ms  # noqa: E402
import mindspore.ops as mops  # noqa: E402

CHOSEN = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""oneDNN's own environment variables: a user who set one has chosen the instruction set."""
AVX2 = 0x7
"""oneDNN's bit mask for AVX2, the widest instruction set for which MindSpore's build has its fast
convolutions.
"""


def absorb_first_error() -> bool:
    """Run one throw-away operation; True if it raised.

    MindSpore's extension was built against NumPy 1; under NumPy 2 its first operation raises
    SystemError, the second one works. NumPy's long warning about it goes to stderr and is swallowed
    with it.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            mops.add(ms.Tensor([1.0]), 1).asnumpy()
        except SystemError:
            return True
    return False


def library() -> ctypes.CDLL | None:
    """MindSpore's own oneDNN, which no other framework shares; None if it cannot be loaded."""
    path = Path(str(ms.__file__)).parent / "lib" / "libdnnl.so.3"
    if not path.is_file():
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def cap_isa() -> str:
    """Limit MindSpore's oneDNN to AVX2; return one line on the result.

    With AVX-512 it runs a reference convolution, 50 to 100 times slower. oneDNN's environment
    variable would reach the oneDNN of other frameworks too, so the library is called directly; it
    obeys only before its first convolution. Where the user has set that variable, it decides.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"oneDNN is left as it is on {platform.machine()}"
    for name in CHOSEN:
        if name in os.environ:
            return f"MindSpore's oneDNN is left to {name}={os.environ[name]}"
    dnnl = library()
    if dnnl is None:
        return "MindSpore's oneDNN was not found: its instruction set is not capped, and convolutions may be slow"
    dnnl.dnnl_set_max_cpu_isa(AVX2)
    effective = int(dnnl.dnnl_get_effective_cpu_isa())
    if effective & ~AVX2:
        late = (
            "convgru.mindspore was imported after MindSpore's first convolution, too late to keep its oneDNN to AVX2: "
            "convolutions may be 50 to 100 times slower; import convgru.mindspore first"
        )
        warnings.warn(late, RuntimeWarning, stacklevel=2)
        return late
    return f"MindSpore's oneDNN was set up in time and capped at instruction set {effective:#x} (AVX2 is {AVX2:#x})"


def give_back_interrupts() -> None:
    """Install Python's handler of SIGINT again, from Python's main thread, which alone may do so.

    MindSpore's operations install its own, which ends the process by SIGTERM: no KeyboardInterrupt,
    and nothing is cleaned up.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


def set_up() -> list[str]:
    """Prepare MindSpore; return one line for each step, which ``convgru doctor`` prints."""
    if not WANTED:
        return [
            f"MindSpore is left as it is ({SWITCH}=0): on CPUs with AVX-512 convolutions may be 50 to 100 times slower"
        ]
    absorbed = "absorbed" if absorb_first_error() else "not met"
    give_back_interrupts()
    return [cap_isa(), f"the SystemError of MindSpore's first operation under NumPy 2: {absorbed}"]


NOTES = set_up()
