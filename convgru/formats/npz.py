"""Read and write arrays in NumPy's .npz files, without pickle; the files hold no spec."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from math import prod

import ml_dtypes
import numpy as np

from convgru.errors import WeightsError
from convgru.formats import atomic, zip_limits


def write_arrays(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write arrays of any names as numpy.savez does, atomically; equal arrays give equal bytes.

    Raises WeightsError for bfloat16, which NumPy's format does not have.
    """
    if any(array.dtype == ml_dtypes.bfloat16 for array in arrays.values()):
        raise WeightsError(f"{path}: .npz files have no bfloat16: write float32 (Weights.astype), or .safetensors")
    with atomic.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            buffer = BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            # ZipInfo by hand: its date is always the same
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the numeric arrays of an .npz file; texts and objects are left unread.

    Raises WeightsError, and nothing else, whatever the bytes are; OSError if the file cannot be
    opened.
    """
    with _archive(path) as archive:
        arrays = {name: _array(archive, info) for name, info in _entries(archive)}
    return {name: array for name, array in arrays.items() if array is not None}


@contextmanager
def _archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    if not os.path.isfile(path) and os.path.exists(path) and not os.path.isdir(path):
        raise WeightsError(f"{path}: expected a file, got something else (a pipe or a device)")
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                zip_limits.check(archive, os.fstat(file.fileno()).st_size)
                yield archive
        except (
            Exception
        ) as error:  # bytes chosen by others: zipfile and NumPy raise a dozen kinds, WeightsError among them
            reason = " ".join(str(error).split())[:400] or type(error).__name__
            raise WeightsError(f"{path}: expected a sound .npz file: {reason}") from None


def _entries(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for info in archive.infolist():
        if not info.filename.endswith(".npy") or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise WeightsError(f"expected arrays as numpy.savez writes them, got the entry {info.filename[:80]!r}")
        yield info.filename.removesuffix(".npy"), info


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray | None:
    """Return one array; None if it does not hold numbers.

    The header's shape must fit the entry's size, or nothing is allocated.
    """
    name = info.filename[:80]
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise WeightsError(f"{name}: expected .npy version 1.0 or 2.0, got {version}")
        if dtype == np.dtype("V2"):  # what numpy.savez makes of bfloat16
            dtype = np.dtype(ml_dtypes.bfloat16)
        elif dtype.hasobject or dtype.names or dtype.kind not in "fiub":
            return None
        size = prod(shape) * dtype.itemsize
        if size != info.file_size - file.tell() or any(n < 0 for n in shape):
            raise WeightsError(f"{name}: shape {str(shape)[:80]} does not fit the size of the entry")
        data = bytearray(file.read(size))
    if len(data) != size:
        raise WeightsError(f"{name}: expected {size} bytes of data, got {len(data)}")
    array = np.frombuffer(data, dtype, prod(shape)) if size else np.zeros(shape, dtype)
    return array.reshape(shape, order="F" if fortran else "C")
