"""The memory of this process: how much it has, its highest so far, and a limit to it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ``ru_maxrss``."""
SIGNS = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "resource_exhausted",
    "bad_alloc",
    "memory allocation",
    "malloc",
    "memoryerror",
)


def begin() -> int:
    """Return the bytes that are resident now, and count the highest from here if possible."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    try:
        return _pages()[1] * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak()


def peak() -> int:
    """Return the most bytes that were ever resident; 0 where the system does not say."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def installed() -> int:
    """Return the bytes of memory of this machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return 0


def limit(extra: int) -> None:
    """Let this process take no more than ``extra`` bytes of address space beyond what it has.

    Raises OSError where the system has no such limit.
    """
    if resource is None:
        raise OSError("this system has no limit to a process's memory")
    whole = _pages()[0] * os.sysconf("SC_PAGE_SIZE") + extra
    resource.setrlimit(resource.RLIMIT_AS, (whole, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _pages() -> tuple[int, int]:
    """Pages of address space and pages resident. Raises OSError outside Linux."""
    size, resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[:2]
    return int(size), int(resident)


def ran_out(text: str) -> bool:
    """Whether a message is one of those by which programs say that there is no memory."""
    return any(sign in text.lower() for sign in SIGNS)
