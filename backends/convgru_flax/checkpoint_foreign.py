"""Read any Flax msgpack file or orbax folder as arrays by path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from convgru.errors import WeightsError
from convgru.formats import zip_limits
from convgru.weights import DTYPES
from convgru_flax import orbax_folder

NUMBERS = {
    **DTYPES,
    **{name: np.dtype(name) for name in ("bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)))},
}
"""The kinds of numbers that are read, by the name that Flax gives them."""
ARRAY, COMPLEX, SCALAR = 1, 2, 3
"""Flax's extension types of msgpack."""
CHUNKED = "__msgpack_chunked_array__"
MAX_LIST = 4096
MAX_DEPTH = 64
MARKS = ("_METADATA", "checkpoint")
"""One of these files lies in every folder in which orbax keeps a tree."""
MODULE_PARAMETER = re.compile(r"((?:.*/)?layers/\d+/(?:fwd|bwd)/[a-z_0-9/]+?)(?:/value)?", re.DOTALL)
"""A parameter of a module of convgru.flax where orbax or flax.serialization saved an nnx state."""


def read_msgpack(data: bytes) -> dict[str, Any]:
    """Read the tree of a msgpack file, its arrays being views of ``data``.

    Nothing takes more memory than its bytes are worth. Raises WeightsError, or what msgpack raises.
    """
    limit = len(data)
    tree = msgpack.unpackb(
        data,
        ext_hook=_extension,
        object_pairs_hook=_mapping,
        strict_map_key=False,
        max_array_len=min(limit, MAX_LIST),
        max_map_len=limit,
        max_str_len=limit,
        max_bin_len=limit,
        max_ext_len=limit,
    )
    if not isinstance(tree, dict):
        raise WeightsError(f"expected a map of names, got {type(tree).__name__}")
    return tree


def arrays_by_path(tree: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return every array of a tree by its path, joined by slashes; optimiser state is left out."""
    return dict(_leaves(tree, ""))


def read_orbax(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an orbax folder by path: of one step, or of the only item in it.

    Raises WeightsError, or what orbax raises.
    """
    import orbax.checkpoint as ocp

    reader = ocp.PyTreeCheckpointer()
    folder = _folder(path)
    size = orbax_folder.check(folder)
    with orbax_folder.quiet():
        return _read(reader, folder, size)


def _read(reader: Any, folder: Path, size: int) -> dict[str, np.ndarray]:
    """Read a folder of ``size`` bytes with a checkpointer of orbax."""
    import orbax.checkpoint as ocp

    metadata: Any = reader.metadata(folder)
    tree = getattr(metadata.item_metadata, "tree", metadata.item_metadata)
    if not isinstance(tree, dict):
        raise WeightsError(f"expected a tree of names, got {type(tree).__name__}")
    claimed = sum(prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for _, leaf in _flat(tree, "") if _is_array(leaf))
    if claimed > zip_limits.room(size):
        raise WeightsError(
            f"expected arrays of at most {zip_limits.room(size)} bytes in a folder of {size}, got {claimed}"
        )
    restore = _map(
        tree, lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray) if _is_array(leaf) else ocp.RestoreArgs()
    )
    return arrays_by_path(reader.restore(folder, restore_args=restore))


def _folder(path: Path) -> Path:
    """Find the folder that holds a tree: this one, or the only one up to two levels down."""
    for pattern in ("", "*", "*/*"):
        folders = [path] if not pattern else sorted(path.glob(pattern))
        checkpoints = [folder for folder in folders if any((folder / mark).exists() for mark in MARKS)]
        if len(checkpoints) > 1:
            names = ", ".join(str(folder.relative_to(path)) for folder in checkpoints[:10])
            raise WeightsError(f"several checkpoints, read one: {names}")
        if checkpoints:
            return checkpoints[0].absolute()
    raise WeightsError(f"expected a folder of orbax, which has a file {' or '.join(MARKS)}, got none")


def _is_array(leaf: Any) -> bool:
    return getattr(leaf, "shape", None) is not None and getattr(leaf, "dtype", None) is not None


def _map(tree: Any, change: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map(value, change) for key, value in tree.items()}
    return [_map(value, change) for value in tree] if isinstance(tree, (list, tuple)) else change(tree)


def _extension(code: int, data: bytes) -> Any:
    """Decode one of Flax's msgpack extension types: an array, or None for a complex number."""
    if code == COMPLEX:
        return None
    if code not in (ARRAY, SCALAR):
        raise WeightsError(f"expected one of Flax's extension types, got {code}")
    parts = msgpack.unpackb(data, max_array_len=32, max_map_len=0, max_ext_len=0, raw=True)
    if not isinstance(parts, list) or [type(part) for part in parts[1:]] != [bytes, bytes]:
        raise WeightsError("expected an array of shape, dtype and bytes, got something else")
    shape, kind, numbers = parts[0], NUMBERS.get(parts[1].decode(errors="replace")), parts[2]
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise WeightsError(f"an array's shape expected integers >= 0, got {str(shape)[:80]}")
    if kind is None:
        raise WeightsError(f"an array of shape {shape} expected numbers of {', '.join(NUMBERS)}, got {parts[1][:80]!r}")
    if prod(shape) * kind.itemsize != len(numbers):
        raise WeightsError(f"an array of {kind} and shape {str(shape)[:80]} does not take {len(numbers)} bytes")
    return np.frombuffer(numbers, kind).reshape(shape)


def _mapping(pairs: list[tuple[Any, Any]]) -> Any:
    entries = {str(key): value for key, value in pairs}
    if len(entries) != len(pairs):
        raise WeightsError("expected different names in a map, got one twice")
    return _joined(entries) if CHUNKED in entries else entries


def _joined(entries: dict[str, Any]) -> np.ndarray:
    """Join an array that Flax cut into chunks because it takes more than a gigabyte."""
    shape, chunks = (entries.get(key) for key in ("shape", "chunks"))
    if not isinstance(shape, dict) or not isinstance(chunks, dict):
        raise WeightsError("expected an array in chunks, got a map without shape and chunks")
    sizes: list[Any] = [shape.get(str(i)) for i in range(len(shape))]
    parts: list[Any] = [chunks.get(str(i)) for i in range(len(chunks))]
    if not all(type(n) is int and n >= 0 for n in sizes) or not all(isinstance(part, np.ndarray) for part in parts):
        raise WeightsError("expected an array in chunks, got other things in its shape or its chunks")
    if not parts or prod(sizes) != sum(part.size for part in parts):
        raise WeightsError(f"an array of shape {str(sizes)[:80]} does not consist of its chunks")
    return np.concatenate([part.ravel() for part in parts]).reshape(sizes)


def _flat(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf by its path, except optimiser state and random number streams."""
    if path.count("/") > MAX_DEPTH:
        raise WeightsError(f"expected maps at most {MAX_DEPTH} deep, got more at {path[:80]!r}")
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in entries:
        if str(key).startswith("opt") or key == "rngs":
            continue
        if isinstance(value, (dict, list, tuple)):
            yield from _flat(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", value


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    for name, leaf in _flat(tree, path):
        if isinstance(leaf, np.ndarray) and leaf.dtype in NUMBERS.values():
            parameter = MODULE_PARAMETER.fullmatch(name)
            yield (parameter[1].replace("/", ".") if parameter else name), leaf
