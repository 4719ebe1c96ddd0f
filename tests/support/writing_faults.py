"""Write a file while something fails, in processes that die of it; print what became of the file.

Run as ``python writing_faults.py SUFFIX FOLDER``: a line of JSON for each fault. The framework is
imported once, and every fault strikes in a fork.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import convgru
from convgru.formats import atomic

SPEC = convgru.network("lstm", 16, 32)
BEFORE, AFTER, OTHER = (convgru.init(SPEC, seed) for seed in (1, 2, 3))
LAYOUTS = {".npz": "convgru", ".weights.h5": "keras"}
"""Suffixes that hold no spec, and the layout in which they are written."""


def write(weights: convgru.Weights, path: Path) -> None:
    convgru.write(weights, path, LAYOUTS.get(suffix_of(path)))


def held(path: Path) -> str:
    """Say whose numbers a file holds: "before", "after", "other", or what is wrong with it."""
    layout = LAYOUTS.get(suffix_of(path))
    weights = convgru.read(path, layout, spec=SPEC if layout else None)
    names = {"before": BEFORE, "after": AFTER, "other": OTHER}
    return next((name for name, each in names.items() if each.equal(weights)), "something else")


def suffix_of(path: Path) -> str:
    return next((each for each in LAYOUTS if path.name.endswith(each)), path.suffix)


def strike(name: str, act: Callable[[], None], *, after: bool = False) -> None:
    """Let a function of ``os`` that every write calls ``act`` before, or after, what it does."""
    original: Any = getattr(os, name)

    def struck(*args: Any) -> Any:
        if not after:
            act()
        result = original(*args)
        if after:
            act()
        return result

    setattr(os, name, struck)


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def fill_the_disk() -> None:
    """Set the greatest length of a file, beyond which writing fails as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def lose_the_right_to_write() -> None:
    """Make the folder read-only, to this process too if it is root."""
    os.chmod(FOLDER, 0o555)
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)


FAULTS: dict[str, Callable[[], None]] = {
    "killed before a byte is written": lambda: strike("open", kill_at_the_partial_file, after=False),
    "killed before the bytes are on the disk": lambda: strike("fsync", send(signal.SIGKILL)),
    "killed before the file has its name": lambda: strike("replace", send(signal.SIGKILL)),
    "killed after the file has its name": lambda: strike("replace", send(signal.SIGKILL), after=True),
    "terminated": lambda: strike("fsync", send(signal.SIGTERM)),
    "interrupted": lambda: strike("fsync", send(signal.SIGINT)),
    "a full disk": fill_the_disk,
    "a disk full at the last moment": lambda: strike("fsync", no_space),
    "a read-only folder": lose_the_right_to_write,
}


def kill_at_the_partial_file() -> None:
    """Kill this process as soon as the partial file is there."""
    if any(entry.name.startswith(atomic.PREFIX) for entry in os.scandir(FOLDER)):
        send(signal.SIGKILL)()


def no_space() -> None:
    raise OSError(28, "No space left on device")


def suffer(fault: str, path: Path) -> dict[str, Any]:
    """Write ``AFTER`` over ``BEFORE`` in a fork that suffers a fault; tell what there is then."""
    write(BEFORE, path)
    said, say = os.pipe()
    if (child := os.fork()) == 0:
        text = "done"
        try:
            FAULTS[fault]()
            write(AFTER, path)
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(say, text.encode()[:1000])
        os._exit(0)
    os.close(say)
    text = os.fdopen(said).read()
    _, status = os.waitpid(child, 0)
    os.chmod(FOLDER, 0o755)
    result = {"fault": fault, "said": text, "code": os.waitstatus_to_exitcode(status), "held": held(path)}
    result["left"] = names_beside(path)
    write(AFTER, path)
    return {**result, "then": held(path), "left then": names_beside(path)}


def two_writers(path: Path) -> dict[str, Any]:
    """Let two processes write one file again and again, and read it all the while."""
    write(BEFORE, path)
    children = []
    for weights in (AFTER, OTHER):
        if (child := os.fork()) == 0:
            status = 1
            try:
                for _ in range(10):
                    write(weights, path)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    seen, codes = set(), []
    while len(codes) < 2:
        seen.add(held(path))
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in children:
            codes.append(os.waitstatus_to_exitcode(status))
    return {
        "fault": "two writers",
        "seen": sorted(seen),
        "codes": codes,
        "held": held(path),
        "left": names_beside(path),
    }


def places(path: Path) -> dict[str, Any]:
    """Write through a link to a private file, and to the longest name that there may be."""
    suffix = suffix_of(path)
    target, link = path.with_name(f"target{suffix}"), path.with_name(f"link{suffix}")
    longest = path.with_name("n" * (255 - len(suffix)) + suffix)
    write(BEFORE, target)
    target.chmod(0o600)
    link.symlink_to(target)
    write(AFTER, link)
    write(AFTER, longest)
    return {
        "fault": "places",
        "held": [held(target), held(longest)],
        "link": link.is_symlink(),
        "mode": target.stat().st_mode & 0o777,
    }


def names_beside(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path.parent) if name != path.name)


if __name__ == "__main__":
    FOLDER = Path(sys.argv[2])
    target = FOLDER / f"w{sys.argv[1]}"
    write(OTHER, target)  # imports what there is to import
    held(target)
    for each in FAULTS:
        print(json.dumps(suffer(each, target)), flush=True)
    print(json.dumps(two_writers(target)), flush=True)
    print(json.dumps(places(target)), flush=True)
