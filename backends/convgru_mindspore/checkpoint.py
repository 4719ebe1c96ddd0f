"""MindSpore's own checkpoint files (.ckpt), with the spec beside the parameters."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf import message
from mindspore.train import checkpoint_pb2

from convgru.errors import UnsupportedError, WeightsError
from convgru.formats import atomic, checksums
from convgru.formats.contents import Contents
from convgru.spec import from_json, to_json
from convgru.spec.shapes import parameter_shapes
from convgru.weights import DTYPES, Weights
from convgru_mindspore import cpu_setup

Entries = dict[str, tuple[str, tuple[int, ...], bytes]]
"""Name -> type, dims and bytes."""
schema: Any = checkpoint_pb2  # its classes come into being at import, out of sight of type checkers
KEY = "convgru_spec"
"""The entry that is no parameter: the spec and checksums, as JSON text."""
CHECKSUM = b"crc_num"
"""What MindSpore puts before the checksum, the last ten bytes."""
PIECE = 512 << 20
"""Longest part of an array in one entry: protobuf ends at 2 GiB."""
TYPES: dict[str, np.dtype[Any]] = {"Float64": np.dtype("<f8"), "Float32": np.dtype("<f4"), "Float16": np.dtype("<f2")}
"""What MindSpore calls the dtypes that weights may have here."""
OTHERS: dict[str, np.dtype[Any]] = {
    **{f"{u.upper()}Int{n}": np.dtype(f"{u}int{n}") for u in ("", "u") for n in (8, 16, 32, 64)},
    "BFloat16": DTYPES["bfloat16"],
    "Bool": np.dtype(bool),
}
"""And those of what else stands in a checkpoint."""
MAX_ENTRIES = 20_000
"""Of a checkpoint: each takes 2 kB when parsed, and may take ten bytes in the file."""
OPTIMIZER = re.compile(r"(moment\w*|accum\w*|stat|mean_\w+|adam_\w+|linear)\.")
"""How the copies begin that MindSpore's optimisers keep of each parameter."""


def write(weights: Weights, path: Path) -> None:
    """Write the weights to a checkpoint, the spec and checksums as one more entry; atomic.

    Raises UnsupportedError for bfloat16 and OSError if the file cannot be written.
    """
    spec = to_json(weights.spec)
    write_arrays(weights.arrays, path, {KEY: json.dumps(checksums.note(spec, weights.arrays))})


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path, notes: dict[str, str] | None = None) -> None:
    """Write parameters of any names, as ``mindspore.load_checkpoint`` reads them; atomic.

    Raises as ``write``.
    """
    if any(array.dtype.name == "bfloat16" for array in arrays.values()):
        raise UnsupportedError("MindSpore does not hold bfloat16 arrays on CPU: write float32 or a .safetensors file")
    cpu_setup.give_back_interrupts()  # or Ctrl-C would leave half a file behind
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        checksum = 0
        for piece in _pieces(arrays, notes or {}):
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
        file.write(CHECKSUM + checksum.to_bytes(10, "big"))


def _pieces(arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the entries of a checkpoint, as ``mindspore.save_checkpoint`` writes them.

    Its own function writes beside the file that it is given, where nobody holds it locked, and
    another writer of the same file takes it for a leftover.
    """
    names = {dtype: name for name, dtype in TYPES.items()}
    entries = [(name, names[array.dtype], list(array.shape), array.tobytes()) for name, array in arrays.items()]
    entries += [(name, "str", [0], text.encode("utf-32-le")) for name, text in notes.items()]
    for name, kind, dims, data in entries:
        for start in range(0, max(len(data), 1), PIECE):
            message = schema.Checkpoint()
            entry = message.value.add()
            entry.tag, entry.tensor.tensor_type = name, kind
            entry.tensor.dims.extend(dims)
            entry.tensor.tensor_content = data[start : start + PIECE]
            yield bytes(message.SerializeToString())


def contents(path: Path, file: BinaryIO | None = None) -> Contents:
    """Every array in a .ckpt file by name, and the spec if convgru wrote the file.

    The optimisers' copies of parameters are left out. ``file`` is the file at ``path`` if it is
    open already.

    Raises WeightsError whatever the bytes are, OSError if there is no file.
    """
    content = Path(path).read_bytes() if file is None else file.read()
    try:
        return _contents(_entries(_checked(content)))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (ValueError, TypeError, RecursionError, message.Error) as error:
        raise WeightsError(f"{path} is not a MindSpore checkpoint that convgru can read: {error}") from error


def _checked(content: bytes) -> bytes:
    """The content without its trailing checksum; WeightsError if that does not match."""
    mark = len(content) - len(CHECKSUM) - 10
    if content[max(mark, 0) :][: len(CHECKSUM)] != CHECKSUM:
        return content
    checksum = int.from_bytes(content[-10:], "big")
    if zlib.crc32(content[:mark]) != checksum:
        raise WeightsError("the checksum does not fit: the file is damaged")
    return content[:mark]


def _entries(content: bytes) -> Entries:
    """Type, dims and bytes of each entry by name.

    Read through MindSpore's own protobuf schema but not its loader, which trusts the dims that the
    file states and reads memory beyond a short entry. A long entry comes in pieces, one after the
    other under one name.
    """
    _check_count(content)
    pieces: dict[str, tuple[str, tuple[int, ...], list[bytes]]] = {}
    last = None
    for element in schema.Checkpoint.FromString(content).value:
        tag, tensor = element.tag, element.tensor
        head = (tensor.tensor_type, tuple(tensor.dims))
        if tag in pieces and (tag != last or pieces[tag][:2] != head):
            raise WeightsError(f"the entry {tag!r} is there twice")
        pieces.setdefault(tag, (*head, []))[2].append(tensor.tensor_content)
        last = tag
    return {tag: (kind, dims, b"".join(parts)) for tag, (kind, dims, parts) in pieces.items()}


def _check_count(content: bytes) -> None:
    """Raise WeightsError for too many entries, and for what is no list of entries."""
    place = count = 0
    while place < len(content):
        tag, place = _varint(content, place)
        length, place = _varint(content, place)
        place, count = place + length, count + 1
        if tag != 1 << 3 | 2 or place > len(content):
            raise WeightsError(f"expected a list of entries, got something else in place of entry {count}")
        if count > MAX_ENTRIES:
            raise WeightsError(f"expected at most {MAX_ENTRIES} entries, got more")


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return protobuf's integer at a place, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place] if place < len(content) else 0
        value, place = value | (byte & 0x7F) << shift, place + 1
        if byte < 0x80:
            break
    return value, place


def _our_contents(entries: Entries) -> Contents:
    kind, _, note = entries.pop(KEY)
    if kind != "str":
        raise WeightsError(f"{KEY} expected a text, got {kind!r}")
    text, sums = checksums.in_text(note.decode("utf-32-le"))
    spec = from_json(text)
    shapes = parameter_shapes(spec)
    arrays: dict[str, np.ndarray] = {}
    for name, (kind, dims, data) in entries.items():
        dtype = TYPES.get(kind)
        if dtype is None:
            raise WeightsError(f"{name} expected one of {', '.join(TYPES)}, got {kind!r}")
        if name in shapes and dims != shapes[name]:
            raise WeightsError(f"{name} expected shape {shapes[name]}, got {dims}")
        arrays[name] = _array(name, dims, dtype, data)
    weights = Weights(spec, arrays)
    if sums is not None:
        checksums.check(sums, text, arrays)
    return Contents(weights.arrays, {"": spec}, verified=sums is not None)


def _contents(entries: Entries) -> Contents:
    if KEY in entries:
        return _our_contents(entries)
    kept = {name: entry for name, entry in entries.items() if not _is_copy(name, entries)}
    known = {**TYPES, **OTHERS}
    arrays = {name: _array(name, dims, known[kind], data) for name, (kind, dims, data) in kept.items() if kind in known}
    if not arrays:
        raise WeightsError(f"expected parameters of {', '.join(known)}, got {len(entries)} entries without any")
    return Contents(arrays)


def _is_copy(name: str, entries: Entries) -> bool:
    """Whether this is an optimiser's copy of a parameter."""
    start = OPTIMIZER.match(name)
    return start is not None and name[start.end() :] in entries


def _array(name: str, dims: tuple[int, ...], dtype: np.dtype[Any], data: bytes) -> np.ndarray:
    shape = () if dims == (0,) and len(data) == dtype.itemsize else dims  # MindSpore's way to write a single number
    if min(shape, default=0) < 0 or len(shape) > 32 or len(data) != prod(shape) * dtype.itemsize:
        raise WeightsError(f"{name} of shape {dims} expected {prod(shape) * dtype.itemsize} bytes, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape).copy()
