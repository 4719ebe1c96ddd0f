"""Flax's own checkpoint format, msgpack: written by flax.serialization, read by it too, but only after a strict look."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from flax import serialization, traverse_util

from convgru.errors import WeightsError
from convgru.formats import atomic
from convgru.formats.checkpoint import Contents
from convgru.spec import Spec, from_json, to_json
from convgru.spec.shapes import parameter_shapes
from convgru.weights import DTYPES, Weights
from convgru_flax import checkpoint_foreign

MAX_SPEC = 1 << 20
MAX_NAME = 1 << 10
ROOM = 1 << 10
"""How many bytes the frame of one array may take: its name, dtype and shape."""
CHUNK = 2**30
"""From this size on flax cuts an array into chunks: a map instead of an array."""
HEAD = b"\x82\xa4spec"
"""How our file begins: a map of two entries, the first of which is called spec."""


def write(weights: Weights, path: Path) -> None:
    """Write ``{"spec": JSON text, "params": {canonical name: array}}``, whole or not at all."""
    tree = {"spec": to_json(weights.spec), "params": dict(weights.arrays)}
    # in_place, or flax sorts the keys: the spec must come first.
    data = serialization.msgpack_serialize(tree, in_place=True)
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(data)


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write ``{"params": tree}``, the tree's branches being the parts of the names between slashes; whole or not at all."""
    branches = {tuple(name.split("/")): array for name, array in arrays.items()}
    tree = {"params": traverse_util.unflatten_dict(branches)}  # type: ignore[no-untyped-call]
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(serialization.msgpack_serialize(tree))


def contents(path: Path) -> Contents:
    """Every array in a msgpack file, or in a folder of orbax, by path; with the spec if convgru wrote it.

    Raises WeightsError for any other bytes, OSError if there is no such file.
    """
    if not path.stat().st_size or not (path.is_file() or path.is_dir()):
        raise WeightsError(
            f"{path}: expected a msgpack file, got {'an empty one' if path.is_file() else 'a pipe or a device'}"
        )
    if path.is_file():
        with path.open("rb") as file:
            ours = file.read(len(HEAD)) == HEAD
        if ours:
            weights = _read_own(path)
            return Contents(weights.arrays, {"": weights.spec})
    try:
        return Contents(
            checkpoint_foreign.read_msgpack(path.read_bytes())
            if path.is_file()
            else checkpoint_foreign.read_orbax(path)
        )
    except Exception as error:  # whatever msgpack, orbax or NumPy make of bytes that nobody wrote for them
        what = "msgpack file of Flax" if path.is_file() else "folder of orbax"
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: not a {what} ({type(error).__name__}: {reason})") from None


def _read_own(path: Path) -> Weights:
    """Read what ``write`` wrote. Raises WeightsError for any other bytes."""
    if not path.stat().st_size or not path.is_file():
        raise WeightsError(
            f"{path}: expected a msgpack file, got {'an empty one' if path.is_file() else 'no regular file'}"
        )
    try:
        with path.open("rb") as file:
            return _read(file)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # whatever msgpack, flax or NumPy make of bytes that nobody wrote for them
        raise WeightsError(
            f"{path}: not a msgpack file of convgru: {type(error).__name__}: {str(error)[:200]}"
        ) from None


def _read(file: Any) -> Weights:
    """The spec comes first: it says how large the rest may be before the rest is read."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(min(size, MAX_SPEC + ROOM))
    if not head.startswith(HEAD):
        raise WeightsError("not a msgpack file of convgru: it should begin with a map of spec and params")
    unpacker = msgpack.Unpacker(max_buffer_size=len(head), max_str_len=MAX_SPEC)
    unpacker.feed(head)
    unpacker.read_map_header()
    unpacker.unpack()
    text = unpacker.unpack()
    if not isinstance(text, str):
        raise WeightsError(f"expected spec to be text, got {type(text).__name__}")
    try:
        spec = from_json(text)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    shapes = parameter_shapes(spec)
    limit = unpacker.tell() + ROOM * (2 + len(shapes)) + 8 * sum(map(prod, shapes.values()))
    if size > limit:
        raise WeightsError(f"expected at most {limit} bytes for this spec, got {size}")
    return Weights(spec, _params(spec, head + file.read(), unpacker.tell()))


def _params(spec: Spec, data: bytes, start: int) -> dict[str, np.ndarray]:
    """The arrays of the second entry. Each is measured before flax is given its bytes."""
    shapes = parameter_shapes(spec)
    view = memoryview(data)
    unpacker = msgpack.Unpacker(max_buffer_size=len(data), max_str_len=MAX_NAME)
    unpacker.feed(view[start:])
    if unpacker.unpack() != "params":
        raise WeightsError("expected params after spec")
    arrays: dict[str, np.ndarray] = {}
    for _ in range(_length(unpacker, len(shapes))):
        name = unpacker.unpack()
        if name not in shapes or name in arrays:
            raise WeightsError(f"{'unexpected' if name not in shapes else 'repeated'} parameter {str(name)[:80]!r}")
        begin = start + unpacker.tell()
        unpacker.skip()
        arrays[name] = _array(name, prod(shapes[name]), view[begin : start + unpacker.tell()])
    if start + unpacker.tell() != len(data):
        raise WeightsError(f"{len(data) - start - unpacker.tell()} bytes too many after the last parameter")
    return arrays


def _length(unpacker: Any, expected: int) -> int:
    found = unpacker.read_map_header()
    if found != expected:
        raise WeightsError(f"expected {expected} parameters, got {found}")
    return expected


def _array(name: str, numbers: int, data: memoryview) -> np.ndarray:
    sizes = {dtype: numbers * dtype.itemsize for dtype in DTYPES.values()}
    if not any(size <= len(data) <= size + ROOM for size in sizes.values()):
        raise WeightsError(f"{name} expected {numbers} numbers of 2, 4 or 8 bytes, got {len(data)} bytes in all")
    chunked = data[0] >> 4 == 0x8
    if chunked and len(data) < CHUNK:
        raise WeightsError(f"{name} expected an array, got a map")
    array = serialization.msgpack_restore(bytes(data))
    if not isinstance(array, np.ndarray):
        raise WeightsError(f"{name} expected an array, got {type(array).__name__}")
    return np.array(array)  # flax's is a read-only view of the file's bytes
