"""Read mutants one after the other, and say of each what came of it; run by ``python tests/fuzz``.

Orders come on stdin, a line of JSON each; answers go to a pipe of their own, since libraries write
to stdout and stderr whatever they like. Processor time and memory of each read are measured here;
the process that gives the orders ends this one if no answer comes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

MEMORY, SECONDS = 256 << 20, 5.0
"""What reading a file may take besides what its size justifies, sixteen times the file."""
CONVERSION = (3 << 30, 60.0)
"""What converting an accepted file may take: the run is bounded, but not by the file's size."""
BACKSTOP = 6 << 30
"""Address space beyond that of a process at work: a bomb fails before the machine does."""


class Find(Exception):
    """What must not happen."""


def main() -> None:
    """Answer orders until stdin ends."""
    answers = os.fdopen(int(sys.argv[1]), "w")
    warnings.simplefilter("ignore")
    _fork_hdf5()
    for line in sys.stdin:
        order = json.loads(line)
        place = Path(order["folder"])
        files, original, suffix = _mutant(order)
        path = place / f"mutant{suffix}"
        _put(path, files)
        answer: dict[str, Any] = {"outcome": "refused", "find": "", "memory": 0, "seconds": 0.0}
        try:
            _examine(path, files, original, order, answer)
        except Find as find:
            answer["find"] = str(find)
        except BaseException as error:
            answer["find"] = (
                f"{type(error).__name__}: {error}\n{''.join(traceback.format_exc().splitlines(True)[-12:])}"
            )
        if answer["find"] and order["keep"] and "index" in order:
            (Path(order["keep"])).mkdir(parents=True, exist_ok=True)
            _put(Path(order["keep"]) / f"{order['format']}-{order['index']}{suffix}", files)
        print(json.dumps(answer), file=answers, flush=True)


@cache
def _seeds(name: str) -> list[tuple[dict[str, bytes], Any]]:
    """The sound files of a format, each with its weights, or with None if it is not one network."""
    from seeds import FORMATS

    import convgru

    made = []
    for number, files in enumerate(FORMATS[name].seeds()):
        path = Path(os.environ["FUZZ_FOLDER"]) / f"seed{number}{FORMATS[name].suffix}"
        _put(path, files)
        try:
            made.append((files, convgru.read(path)))
        except convgru.WeightsError:
            made.append((files, None))
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + BACKSTOP, pages + BACKSTOP))
    return made


def _mutant(order: dict[str, Any]) -> tuple[dict[str, bytes], Any, str]:
    """The files of a mutant, the weights of what it was made of, and its suffix."""
    _seeds(order["format"])  # imports what its reader imports
    if "corpus" in order:
        import corpus

        files, suffix = corpus.file(order["corpus"])
        return files, None, suffix
    from mutate_values import change_bytes
    from seeds import FORMATS

    rng = Random(f"{order['format']} {order['seed']} {order['index']}")
    files, original = rng.choice(_seeds(order["format"]))
    try:
        changed = FORMATS[order["format"]].change(rng, files)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # nothing left to follow
        changed = {name: change_bytes(rng, data) for name, data in files.items()}
    return changed, None if order["format"] == "spec" else original, FORMATS[order["format"]].suffix


def _put(path: Path, files: dict[str, bytes]) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if "" in files:
        path.write_bytes(files[""])
        return
    path.mkdir()
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def _examine(path: Path, files: dict[str, bytes], original: Any, order: dict[str, Any], answer: dict[str, Any]) -> None:
    import convgru

    size = sum(map(len, files.values()))
    limits = (MEMORY + 16 * size, SECONDS)
    weights = _within(limits, answer, "read", lambda: convgru.read(path))
    survey = _within(limits, answer, "inspect", lambda: convgru.inspect(path))
    if weights is not None:
        answer["outcome"] = "accepted"
        if survey is None or survey.weights is None or not survey.weights.equal(weights):
            raise Find("read accepts it, inspect sees something else")
        if survey.verified and original is not None and not weights.equal(original):
            raise Find("checksums are called right, and the weights are not those of the original")
        if order.get("index", 0) % 4 == 0:
            _within(limits, answer, "show", lambda: _show(path))
        if order["convert"]:
            _within(CONVERSION, answer, "convert", lambda: _convert(path))
    if _held(path) != files:
        raise Find("the file was changed")
    if left := [name for name in os.listdir(path.parent) if not name.startswith(("mutant", "seed", "out."))]:
        raise Find(f"files were left behind: {left[:5]}")


def _within(limits: tuple[int, float], answer: dict[str, Any], what: str, act: Callable[[], Any]) -> Any:
    """Return what ``act`` returns, None for a WeightsError; anything else is a find."""
    import convgru

    most, seconds = limits
    before, begin = _resident(), _cpu()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now
    result = None
    try:
        result = act()
    except convgru.WeightsError as error:
        message = str(error)
        if len(message) > 5000 or not all(c.isprintable() or c == "\n" for c in message):
            raise Find(f"{what}: a message that is too long or not fit to be shown: {message[:300]!r}") from None
    used = _cpu() - begin + CHILD.pop("seconds", 0.0)
    taken = max(_resident("VmHWM:") - before, int(CHILD.pop("memory", 0)))
    if what in ("read", "inspect"):
        answer["memory"], answer["seconds"] = max(answer["memory"], taken), max(answer["seconds"], used)
    if taken > most or used > seconds:
        raise Find(f"{what}: {taken >> 20} MiB and {used:.1f} s, allowed are {most >> 20} MiB and {seconds} s")
    return result


def _show(path: Path) -> None:
    """Print what the command inspect prints, which must be fit to be shown."""
    from convgru import cli

    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        code = cli.main(["inspect", str(path)])
    if code or not all(c.isprintable() or c == "\n" for c in screen.getvalue()):
        raise Find(f"convgru inspect ends with {code} and prints {screen.getvalue()[:500]!r}")


def _convert(path: Path) -> None:
    from convgru.cli import convert as conversion
    from convgru.errors import UsageError

    with contextlib.suppress(UsageError):
        conversion.convert(path, path.parent / "out.safetensors", conversion.Source(), force=True)


def _held(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def _cpu() -> float:
    return time.process_time()


def _resident(field: str = "VmRSS:") -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) << 10


CHILD: dict[str, float] = {}
"""Memory and processor time that the last process of HDF5 took."""


def _fork_hdf5() -> None:
    """Let HDF5's process be forked from this one instead of started: 10 ms in place of 300.

    It runs the same code on the same bytes with the same limits, but for one second of processor
    time: those that do not return would take the most part of a campaign. What they make of bytes
    that were just read, by inspect after read, is not asked twice.
    """
    try:
        import h5py  # noqa: F401
    except ImportError:
        return
    import subprocess
    from types import SimpleNamespace

    from convgru.formats import hdf5, hdf5_process

    last: dict[bytes, Any] = {}

    def run(_: Any, input: bytes, **__: Any) -> Any:
        if input not in last:
            last.clear()
            last[input] = fork(input)
        return last[input]

    def fork(input: bytes) -> Any:
        with _streams() as streams:
            line, _, data = input.partition(b"\n")
            streams[0].write(json.dumps({**json.loads(line), "seconds": 1}).encode() + b"\n" + data)
            streams[0].seek(0)
            if (child := os.fork()) == 0:
                for number, stream in enumerate(streams):
                    os.dup2(stream.fileno(), number)
                sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
                status = 1
                with contextlib.suppress(BaseException):
                    hdf5_process.main()
                    status = 0
                os._exit(status)
            before = _resident()
            _, ended, usage = os.wait4(child, 0)
            CHILD["memory"] = max(0, (usage.ru_maxrss << 10) - before)
            CHILD["seconds"] = usage.ru_utime + usage.ru_stime
            streams[1].seek(0)
            return SimpleNamespace(returncode=os.waitstatus_to_exitcode(ended), stdout=streams[1].read(), stderr=b"")

    hdf5.subprocess = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)  # type: ignore[assignment]


@contextlib.contextmanager
def _streams() -> Iterator[list[Any]]:
    import tempfile

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]


if __name__ == "__main__":
    main()
