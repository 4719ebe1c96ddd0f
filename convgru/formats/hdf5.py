"""Read arrays and attributes of an HDF5 file with h5py.

Refused are arrays that are not stored in the file itself or do not have the size they claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from convgru.errors import WeightsError
from convgru.formats import zip_limits
from convgru.weights import DTYPES

MAX_DEPTH = 64
FILTERS = ("gzip", "lzf", "szip", None)
"""The compressions that h5py contains; for another one HDF5 would load a plugin."""


def h5py() -> Any:
    """Return the package h5py. Raises ImportError with the command that installs it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError('files of Keras need h5py: pip install "convgru[keras]"') from error
    return h5py


def arrays(file: Any, size: int, skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Return the numeric arrays in an open file of ``size`` bytes by path.

    Top-level groups whose names begin with ``skip`` are left out.

    Texts and other kinds are left out. Raises WeightsError for links out of the file, arrays that
    are made from others, or that claim more than the file can hold.
    """
    datasets = {path: dataset for path, dataset in _datasets(file, "", {}) if not path.startswith(skip)}
    kinds = {path: _dtype(dataset) for path, dataset in datasets.items()}
    kept = {path: (datasets[path], kind) for path, kind in kinds.items() if kind is not None}
    total = sum(prod(dataset.shape or (0,)) * dataset.dtype.itemsize for dataset, _ in kept.values())
    if total > zip_limits.room(size):
        raise WeightsError(f"expected arrays of at most {zip_limits.room(size)} bytes in a file of {size}, got {total}")
    return {path: _read(path, dataset, kind) for path, (dataset, kind) in kept.items()}


def text(group: Any, name: str, most: int) -> str | None:
    """Return an attribute that is one text; None if there is none.

    Raises WeightsError for anything else.
    """
    if name not in group.attrs:
        return None
    kind = group.attrs.get_id(name)
    if kind.shape != () or kind.get_storage_size() > most:
        raise WeightsError(f"attribute {name!r} expected one text of at most {most} bytes, got shape {kind.shape}")
    value = group.attrs[name]
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    if not isinstance(value, str):
        raise WeightsError(f"attribute {name!r} expected a text, got {type(value).__name__}")
    return value


def _datasets(group: Any, path: str, seen: dict[Any, str]) -> Iterator[tuple[str, Any]]:
    """Yield every dataset below a group with its path.

    Raises WeightsError for a group that contains itself.
    """
    if path.count("/") > MAX_DEPTH:
        raise WeightsError(f"expected groups at most {MAX_DEPTH} deep, got {path[:80]!r}")
    package = h5py()
    for name in group:
        if not isinstance(group.get(name, getlink=True), package.HardLink):
            raise WeightsError(f"{path}{name[:80]} expected a group or an array, got a link")
        held = group[name]
        if isinstance(held, package.Dataset):
            yield path + name, held
        elif isinstance(held, package.Group):
            where = package.h5o.get_info(held.id)
            if seen.setdefault((where.fileno, where.addr), path + name) != path + name:
                raise WeightsError(
                    f"{path}{name[:80]} expected a group with one path, got {seen[where.fileno, where.addr][:80]!r} again"
                )
            yield from _datasets(held, f"{path}{name}/", seen)


def _dtype(dataset: Any) -> np.dtype[Any] | None:
    """The dtype of its numbers; None if it holds something else."""
    stored: np.dtype[Any] = dataset.dtype
    if dataset.shape is None:
        return None
    if stored.kind == "V" and stored.itemsize == 2 and not stored.names and dataset.attrs.get("dtype") == "bfloat16":
        return DTYPES["bfloat16"]
    return stored if stored.kind in "fiub" and not stored.subdtype else None


def _read(path: str, dataset: Any, kind: np.dtype[Any]) -> np.ndarray:
    if dataset.is_virtual or dataset.external:
        raise WeightsError(f"{path[:80]} expected an array in this file, got one made from other files")
    if dataset.compression not in FILTERS or len(dataset.shape) > 32:
        raise WeightsError(
            f"{path[:80]} expected a plain array, got shape {dataset.shape}, compression {dataset.compression}"
        )
    if prod(dataset.shape) and not dataset.id.get_storage_size():
        raise WeightsError(f"{path[:80]} of shape {dataset.shape} has no numbers in the file")
    value = np.asarray(dataset[()])
    return value.view(kind) if kind != value.dtype else value
