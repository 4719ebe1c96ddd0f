"""Check the files of an orbax folder before orbax reads them; keep it quiet while it does.

Nothing outside the folder is read, nothing is inflated.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convgru import strict_json
from convgru.errors import WeightsError
from convgru.formats import zip_limits

MAX_METADATA = 4 << 20
"""Limit on a file of JSON in the folder."""
COMPRESSORS = (None, "zstd", "blosc")
"""Of chunks: those that stop at a chunk's own length."""
ARRAY = (".zarray", "zarr.json")
"""The file that describes an array, of zarr 2 and 3."""


def check(folder: Path) -> int:
    """Return the number of bytes in a folder of orbax.

    Raises WeightsError for a link, for names that lead out of the folder, and for arrays whose
    chunks are larger than what they may unpack to.
    """
    size = 0
    arrays: list[Path] = []
    for path in _files(folder):
        size += path.lstat().st_size
        if path.name in ARRAY:
            arrays.append(path)
        elif path.name == "_METADATA":
            _check_names(_json(path))
    for path in arrays:
        _check_chunks(path, _json(path), zip_limits.room(size))
    return size


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that drops what comes after it was closed."""

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        try:
            return super().call_soon_threadsafe(*args, **options)
        except RuntimeError:
            if not self.is_closed():
                raise
            return None


class _Policy(asyncio.DefaultEventLoopPolicy):
    """Makes such loops."""

    _loop_factory = _Loop


_LOCK = threading.Lock()
_READING: list[asyncio.AbstractEventLoopPolicy] = []
"""For each read that goes on, the policy that stood before the first of them."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep orbax from filling stderr with what the error of a failed read says in a sentence.

    Its logger, absl's, says nothing meanwhile. It reads all arrays at once and closes its event
    loop at the first failure: each answer that comes later would print a traceback, so loops that
    are made meanwhile drop them. Reads may overlap: the last one to end puts back what was.
    """
    logger = logging.getLogger("absl")
    with _LOCK:
        if not _READING:
            logger.addFilter(_nothing)
        _READING.append(_READING[0] if _READING else asyncio.get_event_loop_policy())
        if len(_READING) == 1:
            asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        with _LOCK:
            policy = _READING.pop()
            if not _READING:
                asyncio.set_event_loop_policy(policy)
                logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder. Raises WeightsError for what is neither file nor folder."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise WeightsError(f"expected files and folders, got a link or a device: {path.relative_to(folder)}")
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _json(path: Path) -> Any:
    if (length := path.stat().st_size) > MAX_METADATA:
        raise WeightsError(f"{path.name} expected at most {MAX_METADATA} bytes, got {length}")
    try:
        return strict_json.loads(path.read_text(encoding="utf-8"), path.name, MAX_METADATA)
    except ValueError as error:
        raise WeightsError(str(error)) from None


def _check_names(metadata: Any) -> None:
    """Refuse names of arrays that are paths: an array's folder is called after it."""
    tree = metadata.get("tree_metadata") if isinstance(metadata, dict) else None
    if not isinstance(tree, dict):
        raise WeightsError("_METADATA expected a tree of names, got something else")
    for entry in tree.values():
        keys = entry.get("key_metadata") if isinstance(entry, dict) else None
        for key in keys if isinstance(keys, list) else ():
            name = str(key.get("key") if isinstance(key, dict) else key)
            if "/" in name or "\\" in name or name in ("", ".", ".."):
                raise WeightsError(f"_METADATA expected names without slashes, got {name[:80]!r}")


def _check_chunks(path: Path, array: Any, room: int) -> None:
    """Refuse chunks that would take more memory than the folder may unpack to."""
    where = f"{path.parent.name[:80]}/{path.name}"
    if path.name == "zarr.json":
        array = array if isinstance(array, dict) else {}
        if array.get("node_type") != "array":
            return
        grid = array.get("chunk_grid")
        chunks = grid.get("configuration", {}).get("chunk_shape") if isinstance(grid, dict) else None
        kind = array.get("data_type")
        codecs = array.get("codecs")
        names = [str(each.get("name")) for each in codecs if isinstance(each, dict)] if isinstance(codecs, list) else []
        packed = next((name for name in names if name in ("gzip", "bz2", "zlib")), None)
    else:
        array = array if isinstance(array, dict) else {}
        compressor = array.get("compressor")
        chunks, kind = array.get("chunks"), array.get("dtype")
        packed = compressor.get("id") if isinstance(compressor, dict) else compressor
        packed = None if packed in COMPRESSORS else str(packed)
    if packed is not None:
        raise WeightsError(f"{where} expected a compression of zstd or blosc, got {packed[:80]!r}")
    try:
        itemsize = np.dtype("V2" if kind == "bfloat16" else kind).itemsize
    except (TypeError, ValueError, SyntaxError):
        raise WeightsError(f"{where} expected numbers, got {str(kind)[:80]!r}") from None
    if not isinstance(chunks, list) or not all(type(n) is int and n > 0 for n in chunks):
        raise WeightsError(f"{where} expected chunks of integers > 0, got {str(chunks)[:80]}")
    if prod(chunks) * itemsize > room:
        raise WeightsError(f"{where} expected chunks of at most {room} bytes, got {prod(chunks) * itemsize}")
