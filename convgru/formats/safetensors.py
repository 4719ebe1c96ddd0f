"""Read and write weights in safetensors files, byte for byte and strictly.

Equal weights give equal bytes, which the package safetensors writes. The header
(https://huggingface.co/docs/safetensors) is read and checked against the spec here, so that nothing
is allocated for a bad file and what was checked is what is read: the package's parser accepts
duplicate keys.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
import safetensors.numpy

from convgru import strict_json
from convgru.errors import WeightsError
from convgru.formats import atomic, checksums
from convgru.formats.contents import Contents
from convgru.spec import Spec, from_json, to_json
from convgru.spec.fields import name_differences
from convgru.spec.shapes import parameter_shapes
from convgru.weights import Weights

FORMAT = 1
KEY = "convgru"
"""The key of convgru's metadata: JSON with the format's number, the spec, and checksums."""
MAX_HEADER = 8 << 20

_CODES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    **{f"U{8 * n}": np.dtype(f"u{n}") for n in (1, 2, 4, 8)},
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "BOOL": np.dtype(np.bool_),
}


@dataclass(frozen=True)
class Header:
    """The header of a file: name -> dtype code, shape, first byte, last byte, and metadata."""

    metadata: Mapping[str, str]
    entries: Mapping[str, tuple[str, tuple[int, ...], int, int]]
    data_start: int
    data_length: int

    @property
    def is_ours(self) -> bool:
        """Whether convgru wrote the file: then its metadata hold the spec."""
        return KEY in self.metadata


@dataclass(frozen=True)
class _Note:
    """What convgru's metadata say: the spec, its text as it was hashed, the checksums or None."""

    spec: Spec
    text: str
    checksums: Any


def to_bytes(weights: Weights) -> bytes:
    """Return the whole file as bytes; equal weights give equal bytes."""
    # One key alone: safetensors orders the keys of its metadata at random.
    arrays = {name: np.ascontiguousarray(array) for name, array in weights.arrays.items()}
    note = {"format": FORMAT, **checksums.note(to_json(weights.spec), arrays)}
    return bytes(safetensors.numpy.save(arrays, {KEY: json.dumps(note, sort_keys=True)}))


def write(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write a file atomically: a failure leaves what was there. Raises OSError."""
    _check_byte_order()
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(to_bytes(weights))


def write_arrays(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write arrays of any names atomically, without metadata."""
    _check_byte_order()
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def contents(path: str | os.PathLike[str]) -> Contents:
    """Read the arrays of a file that anyone wrote, and the spec if convgru wrote it.

    Of a file of convgru names, shapes and dtypes must be what the spec in the metadata demands,
    checksums, if it has them, those of its arrays, and all numbers finite; in any file the arrays
    must fill it to its last byte. Raises WeightsError and nothing else whatever the bytes are,
    OSError if there is no such file.
    """
    with _open(path) as file:
        header = _header(file, path)
        if not header.is_ours:
            return Contents(_arrays(file, header, path)).unwrapped()
        note = _note(header, path)
        _check_against(note.spec, header, path)
        arrays = _arrays(file, header, path)
    try:
        weights = Weights(note.spec, arrays)
        if note.checksums is not None:
            checksums.check(note.checksums, note.text, arrays)
        return Contents(weights.arrays, {"": note.spec}, verified=note.checksums is not None)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    _check_byte_order()
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder raises OSError in open; a pipe would block there
        raise WeightsError(f"{path}: expected a file, got something else (a pipe or a device)")
    return Path(path).open("rb")


def _header(file: BinaryIO, path: object) -> Header:
    """Parse and check the header, reading no more than MAX_HEADER bytes."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    if len(prefix) < 8:
        raise WeightsError(f"{path}: expected a safetensors file, got {len(prefix)} bytes")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER or length > size - 8:
        raise WeightsError(
            f"{path}: expected a safetensors header of at most {min(MAX_HEADER, size - 8)} bytes, got {length}"
        )
    raw = file.read(length)
    if len(raw) != length:
        raise WeightsError(f"{path}: expected {length} bytes of header, got {len(raw)}")
    try:
        data = strict_json.loads(raw.decode(), "header", MAX_HEADER)
        if not isinstance(data, dict):
            raise ValueError(f"header expected an object, got {type(data).__name__}")
        metadata = _metadata(data.pop("__metadata__", {}))
        entries = {name: _entry(name, value) for name, value in data.items()}
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None
    _check_layout(entries, size - 8 - length, path)
    return Header(metadata, entries, 8 + length, size - 8 - length)


def _metadata(data: Any) -> dict[str, str]:
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError("header expected __metadata__ to be an object of texts")
    return data


def _entry(name: str, data: Any) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(data, dict) or data.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"array {name[:80]!r} expected dtype, shape and data_offsets, got {str(data)[:80]}")
    code, shape, offsets = data["dtype"], data["shape"], data["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise ValueError(f"array {name[:80]!r} expected a dtype of {', '.join(_DTYPES)}, got {str(code)[:80]}")
    if not _are_sizes(shape) or len(shape) > 32:  # 32: what NumPy of any version can hold
        raise ValueError(f"array {name[:80]!r} expected a shape of at most 32 integers >= 0, got {str(shape)[:80]}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"array {name[:80]!r} expected two data_offsets, got {str(offsets)[:80]}")
    if offsets[1] - offsets[0] != prod(shape) * _DTYPES[code].itemsize:
        raise ValueError(f"array {name[:80]!r} of {code} and shape {shape} does not take {offsets} bytes")
    return code, tuple(shape), offsets[0], offsets[1]


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _check_layout(entries: Mapping[str, tuple[str, tuple[int, ...], int, int]], length: int, path: object) -> None:
    """The arrays must follow each other without gap or overlap, from the first byte to the last."""
    end = 0
    for start, stop, name in sorted((start, stop, name) for name, (_, _, start, stop) in entries.items()):
        if start != end:
            raise WeightsError(f"{path}: array {name[:80]!r} expected to begin at byte {end} of the data, got {start}")
        end = stop
    if end != length:
        raise WeightsError(f"{path}: expected {end} bytes of data, got {length}")


def _note(header: Header, path: object) -> _Note:
    if not header.is_ours:
        raise WeightsError(f"{path}: expected {KEY!r} in the metadata, got {sorted(header.metadata) or 'none'}")
    try:
        note = strict_json.loads(header.metadata[KEY], "spec", checksums.MAX_NOTE)
        if not isinstance(note, dict) or note.keys() - {checksums.NAME} != {"format", "spec"}:
            raise ValueError(f"metadata {KEY!r} expected an object with format and spec, got {str(note)[:80]}")
        if note["format"] != FORMAT or isinstance(note["format"], bool):
            raise ValueError(f"expected format {FORMAT}, got {str(note['format'])[:20]}: a newer convgru may read it")
        text, sums = checksums.in_note(note)
        return _Note(from_json(text), text, sums)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None


def _check_against(spec: Spec, header: Header, path: object) -> None:
    """Compare names, shapes and dtype with the spec, before anything is allocated."""
    expected = parameter_shapes(spec)
    if differences := name_differences(expected, header.entries):
        raise WeightsError(f"{path}: {spec.title} weights: {differences}")
    for name, shape in expected.items():
        if header.entries[name][1] != shape:
            raise WeightsError(f"{path}: {name} expected shape {shape}, got {header.entries[name][1]}")
    codes = sorted({code for code, *_ in header.entries.values()})
    if len(codes) != 1 or codes[0] not in _CODES.values():
        raise WeightsError(f"{path}: expected one dtype of {', '.join(_CODES.values())}, got {', '.join(codes)}")


def _arrays(file: BinaryIO, header: Header, path: object) -> dict[str, np.ndarray]:
    """All arrays from where the header says, each writable and in its own memory."""
    file.seek(header.data_start)
    data = memoryview(file.read(header.data_length))
    if len(data) != header.data_length:
        raise WeightsError(f"{path}: expected {header.data_length} bytes of data, got {len(data)}")
    arrays = {}
    for name, (code, shape, start, stop) in header.entries.items():
        try:
            arrays[name] = np.frombuffer(data[start:stop], _DTYPES[code]).reshape(shape).copy()
        except (ValueError, OverflowError) as error:  # an empty array with an axis that no array can have
            raise WeightsError(f"{path}: array {name[:80]!r} of shape {str(shape)[:80]}: {error}") from None
    return arrays


def _check_byte_order() -> None:
    if sys.byteorder != "little":
        raise WeightsError("safetensors files are little-endian: convgru does not read or write them on this machine")
