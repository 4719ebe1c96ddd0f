"""The machine and the interpreter that a run is made on; nothing that names the machine."""

from __future__ import annotations

import contextlib
import os
import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def described(threads: int | None) -> dict[str, Any]:
    """Return the CPU's model, cores, memory, load, system, Python, and the threads asked for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts: dict[str, Any] = {"cpu": _cpu(), "cores": cores, "threads": threads or _threads() or cores}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        facts["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    with contextlib.suppress(OSError, AttributeError):
        facts["load_before"] = round(os.getloadavg()[0], 2)
    return facts | {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()}


def installed(name: str) -> bool:
    """Whether a package can be found; it is not imported."""
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def _threads() -> int | None:
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else None


def _cpu() -> str:
    """The CPU's model, or its architecture where the system does not tell."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    name = facts.get("model name") or platform.processor() or platform.machine()
    widest = next((isa for isa in ("avx512f", "avx2", "sse4_2") if isa in facts.get("flags", "").split()), "")
    return f"{name}, {widest}" if widest else name
