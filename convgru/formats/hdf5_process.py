"""Read an HDF5 file in a process of its own: HDF5 may never return from reading a damaged one.

This file is run as a script. It imports nothing of convgru, gets an order, a line of JSON, and the
bytes of the file from stdin, and answers on stdout with a line of JSON and the bytes of the arrays.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from io import BytesIO
from math import prod
from typing import Any

MAX_DEPTH = 64
FILTERS = ("gzip", "lzf", "szip", None)
"""The compressions that h5py contains; for another one HDF5 would load a plugin."""


class Refused(Exception):
    """Why a file is not read."""


def main() -> None:
    """Answer one order."""
    order = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = order["path"]
    import h5py

    with contextlib.suppress(ImportError):  # where there are no such limits
        _limit(order["memory"], order["seconds"])
    try:
        with h5py.File(BytesIO(sys.stdin.buffer.read()), "r") as file:
            arrays = _arrays(h5py, file, order["skip"], order["room"])
            answer = {
                "texts": {path: dict(_texts(h5py, file, path, order["texts"])) for path in ("", *_groups(h5py, file))},
                "arrays": [[path, array.dtype.str, list(array.shape), kind] for path, array, kind in arrays],
            }
    except Exception as error:  # bytes chosen by others: HDF5 raises a dozen kinds
        answer, arrays = {"error": str(error) or type(error).__name__}, []
    out = sys.stdout.buffer
    out.write(json.dumps(answer).encode() + b"\n")
    for _, array, _ in arrays:
        out.write(array.reshape(-1).view("u1"))
    out.flush()


def _limit(memory: int, seconds: int) -> None:
    """Limit this process to ``memory`` beyond what it has now, and to so much processor time."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _arrays(h5py: Any, file: Any, skip: list[str], room: int) -> list[tuple[str, Any, str]]:
    """The numeric arrays by path, with ``bfloat16`` or nothing; texts and other kinds left out.

    Refuses links out of the file, arrays that are made from others, or that claim more than the
    file can hold.
    """
    datasets = {path: held for path, held in _datasets(h5py, file, "", {}) if not path.startswith(tuple(skip))}
    kinds = {path: _kind(held) for path, held in datasets.items()}
    kept = {path: (datasets[path], kind) for path, kind in kinds.items() if kind is not None}
    total = sum(prod(held.shape or (0,)) * held.dtype.itemsize for held, _ in kept.values())
    if total > room:
        raise Refused(f"expected arrays of at most {room} bytes in such a file, got {total}")
    return [(path, _read(path, held), kind) for path, (held, kind) in kept.items()]


def _datasets(h5py: Any, group: Any, path: str, seen: dict[Any, str]) -> Iterator[tuple[str, Any]]:
    """Yield every dataset below a group with its path; refuse a group that contains itself."""
    if path.count("/") > MAX_DEPTH:
        raise Refused(f"expected groups at most {MAX_DEPTH} deep, got {path[:80]!r}")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Refused(f"{path}{name[:80]} expected a group or an array, got a link")
        held = group[name]
        if isinstance(held, h5py.Dataset):
            yield path + name, held
        elif isinstance(held, h5py.Group):
            where = h5py.h5o.get_info(held.id)
            first = seen.setdefault((where.fileno, where.addr), path + name)
            if first != path + name:
                raise Refused(f"{path}{name[:80]} expected a group with one path, got {first[:80]!r} again")
            yield from _datasets(h5py, held, f"{path}{name}/", seen)


def _kind(dataset: Any) -> str | None:
    """What its numbers are, if that is not their dtype; None if it holds something else."""
    stored = dataset.dtype
    if dataset.shape is None:
        return None
    if stored.kind == "V" and stored.itemsize == 2 and not stored.names and dataset.attrs.get("dtype") == "bfloat16":
        return "bfloat16"
    return "" if stored.kind in "fiub" and not stored.subdtype else None


def _read(path: str, dataset: Any) -> Any:
    if dataset.is_virtual or dataset.external:
        raise Refused(f"{path[:80]} expected an array in this file, got one made from other files")
    if dataset.compression not in FILTERS or len(dataset.shape) > 32:
        raise Refused(
            f"{path[:80]} expected a plain array, got shape {dataset.shape}, compression {dataset.compression}"
        )
    if prod(dataset.shape) and not dataset.id.get_storage_size():
        raise Refused(f"{path[:80]} of shape {dataset.shape} has no numbers in the file")
    import numpy as np

    return np.ascontiguousarray(dataset[()]).reshape(dataset.shape)


def _groups(h5py: Any, file: Any) -> list[str]:
    """The paths of all groups; ``_datasets`` has made sure that they end."""
    paths: list[str] = []
    file.visititems(lambda path, held: paths.append(path) if isinstance(held, h5py.Group) else None)
    return paths


def _texts(h5py: Any, file: Any, path: str, wanted: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield the attributes of a group that are asked for, each one text of bounded length."""
    group = file[path] if path else file
    for name, most in wanted.items():
        if name not in group.attrs or (path.rpartition("/")[2] == "vars") != (name == "name"):
            continue
        kind = group.attrs.get_id(name)
        if kind.shape != () or kind.get_storage_size() > most:
            raise Refused(f"attribute {name!r} expected one text of at most {most} bytes, got shape {kind.shape}")
        value = group.attrs[name]
        value = value.decode(errors="replace") if isinstance(value, bytes) else value
        if not isinstance(value, str):
            raise Refused(f"attribute {name!r} expected a text, got {type(value).__name__}")
        if len(value) > most:
            raise Refused(f"attribute {name!r} expected one text of at most {most} characters, got {len(value)}")
        yield name, value


if __name__ == "__main__":
    main()
