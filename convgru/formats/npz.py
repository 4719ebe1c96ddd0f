"""Weights in NumPy's own .npz files, without pickle: written so that equal weights give equal bytes, read strictly."""

from __future__ import annotations

import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from convgru import strict_json
from convgru.errors import WeightsError
from convgru.formats import atomic, zip_limits
from convgru.spec import Spec, from_json, to_json
from convgru.weights import Weights

FORMAT = "1"
NOTE = "convgru.json"
"""The entry of the archive that holds format number, dtype and spec; numpy.load gives it as bytes."""
MAX_NOTE = 1 << 20

_UNSOUND = (
    *(ValueError, KeyError, TypeError, SyntaxError, EOFError, OverflowError, MemoryError, RecursionError),
    *(NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error, lzma.LZMAError, OSError),
)
"""What zipfile and NumPy's header parser raise when bytes are not what they should be: OSError where an offset is absurd."""


@dataclass(frozen=True)
class Header:
    """Whether convgru wrote the file; with the spec, if so."""

    spec: Spec | None
    dtype: str

    @property
    def is_ours(self) -> bool:
        """Whether convgru wrote the file."""
        return self.spec is not None


def write(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write a file that numpy.load reads; whole or not at all. bfloat16 stands there as uint16, since NumPy has none."""
    note = {"convgru_format": FORMAT, "dtype": str(weights.dtype), "convgru_spec": to_json(weights.spec)}
    _write(path, weights.arrays, json.dumps(note))


def write_arrays(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write arrays of any names, as numpy.savez does, whole or not at all."""
    _write(path, arrays)


def _write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], note: str = "") -> None:
    with atomic.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        if note:
            archive.writestr(zipfile.ZipInfo(NOTE), note)  # ZipInfo by hand: its date is always the same
        for name, array in arrays.items():
            buffer = BytesIO()
            stored = array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array
            np.lib.format.write_array(buffer, stored, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())


def read(path: str | os.PathLike[str]) -> Weights:
    """Read a file that ``write`` wrote. Raises WeightsError, and nothing else, whatever the bytes are."""
    with _archive(path) as archive:
        header = _note(archive)
        if header.spec is None:
            raise WeightsError(f"expected an entry {NOTE}, got none")
        arrays = {name: _array(archive, info) for name, info in _entries(archive)}
        if header.dtype == "bfloat16":
            if any(array.dtype != np.uint16 for array in arrays.values()):
                raise WeightsError("expected bfloat16 stored as uint16")
            arrays = {name: array.view(ml_dtypes.bfloat16) for name, array in arrays.items()}
        weights = Weights(header.spec, arrays)
        if str(weights.dtype) != header.dtype:
            raise WeightsError(f"expected dtype {header.dtype}, got {weights.dtype}")
        return weights


def read_header(path: str | os.PathLike[str]) -> Header:
    """What a file says that it is, the arrays left unread. Raises WeightsError."""
    with _archive(path) as archive:
        return _note(archive)


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Numeric arrays of anybody's .npz file, and no metadata; texts and objects are left unread. Raises WeightsError."""
    with _archive(path) as archive:
        arrays = {name: _array(archive, info, strict=False) for name, info in _entries(archive)}
    return {name: array for name, array in arrays.items() if array.dtype.kind != "U"}, {}


@contextmanager
def _archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    if not os.path.isfile(path) and os.path.exists(path) and not os.path.isdir(path):
        raise WeightsError(f"{path}: expected a file, got something else (a pipe or a device)")
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                zip_limits.check(archive, os.fstat(file.fileno()).st_size)
                yield archive
        except _UNSOUND as error:  # WeightsError is a ValueError
            raise WeightsError(f"{path}: expected a sound .npz file: {error or type(error).__name__}") from None


def _note(archive: zipfile.ZipFile) -> Header:
    if NOTE not in archive.namelist():
        return Header(None, "")
    info = archive.getinfo(NOTE)
    if info.file_size > MAX_NOTE:
        raise WeightsError(f"expected {NOTE} of at most {MAX_NOTE} bytes, got {info.file_size}")
    note: Any = strict_json.loads(archive.read(info).decode(), NOTE, MAX_NOTE)
    if not isinstance(note, dict) or note.keys() != {"convgru_format", "dtype", "convgru_spec"}:
        raise WeightsError(f"{NOTE} expected convgru_format, dtype and convgru_spec, got {str(note)[:80]}")
    if note["convgru_format"] != FORMAT:
        raise WeightsError(f"expected convgru_format {FORMAT!r}, got {str(note['convgru_format'])[:20]!r}")
    if not isinstance(note["convgru_spec"], str) or not isinstance(note["dtype"], str):
        raise WeightsError(f"{NOTE} expected texts, got {str(note)[:80]}")
    strict_json.loads(note["convgru_spec"], "spec", MAX_NOTE)
    return Header(from_json(note["convgru_spec"]), note["dtype"])


def _entries(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for info in archive.infolist():
        if info.filename == NOTE:
            continue
        if not info.filename.endswith(".npy") or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise WeightsError(f"expected arrays as numpy.savez writes them, got the entry {info.filename[:80]!r}")
        yield info.filename.removesuffix(".npy"), info


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, strict: bool = True) -> np.ndarray:
    """One array. Nothing is allocated before the header's shape is found to be what the entry has room for.

    Unless ``strict``, what are no numbers becomes an empty text, and two bytes without a name are what NumPy makes of bfloat16.
    """
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise WeightsError(f"{info.filename[:80]}: expected .npy version 1.0 or 2.0, got {version}")
        if not strict and dtype == np.dtype("V2"):
            dtype = np.dtype(ml_dtypes.bfloat16)
        elif not strict and (dtype.hasobject or dtype.names or dtype.kind not in "fiub"):
            return np.array("")
        elif dtype.hasobject or dtype.names or dtype.kind not in "fiubU":
            raise WeightsError(f"{info.filename[:80]}: expected plain numbers, got dtype {str(dtype)[:80]}")
        size = prod(shape) * dtype.itemsize
        if size != info.file_size - file.tell() or any(n < 0 for n in shape):
            raise WeightsError(f"{info.filename[:80]}: shape {str(shape)[:80]} does not fit the size of the entry")
        data = bytearray(file.read(size))
    if len(data) != size:
        raise WeightsError(f"{info.filename[:80]}: expected {size} bytes of data, got {len(data)}")
    array = np.frombuffer(data, dtype, prod(shape)) if size else np.zeros(shape, dtype)
    return array.reshape(shape, order="F" if fortran else "C")
