"""Which reader and writer the suffix of a file means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from convgru import npz_io, registry, safetensors_io
from convgru.importers import adopt
from convgru.weights import Weights, WeightsError

OURS = {".safetensors": "convgru's own format", ".npz": "the same arrays as NumPy writes them"}
FRAMEWORKS = {".pt": "torch", ".pth": "torch", ".msgpack": "flax", ".ckpt": "mindspore"}
"""Suffix of a framework's own checkpoints -> its backend. Each backend lists its own too; here no framework is imported."""


def backend_of(path: str | os.PathLike[str]) -> str | None:
    """The backend that reads and writes files with this suffix; None if the core does. Raises WeightsError if nobody does."""
    suffix = Path(path).suffix.lower()
    if suffix in OURS:
        return None
    if suffix in FRAMEWORKS:
        return FRAMEWORKS[suffix]
    raise WeightsError(f"{path}: expected a suffix of {', '.join([*OURS, *FRAMEWORKS])}, got {suffix or 'none'!r}")


def read(
    path: str | os.PathLike[str], layout: str | None = None, *, prefix: str | None = None, **hints: Any
) -> Weights:
    """The weights in a file: one that ``write`` wrote, or a checkpoint of another implementation.

    The suffix says how the arrays are stored. If convgru did not write the file, the layout of its arrays is recognised, or
    ``layout`` says it (convgru.importers.LAYOUTS); ``prefix`` and ``hints`` are as for ``convgru.adopt``. Checkpoints of a framework
    need that framework. Nothing in a file is ever executed.

    Raises WeightsError, and nothing else, whatever the bytes are; OSError if the file cannot be opened; ImportError, with
    the command that mends it, if the framework that the suffix means is missing.

    >>> weights = convgru.read("model.safetensors")  # doctest: +SKIP
    """
    backend = backend_of(path)
    if backend is not None:
        return _read_framework(Path(path), backend, layout, prefix, hints)
    reader: Any = npz_io if Path(path).suffix.lower() == ".npz" else safetensors_io
    if layout is None and reader.read_header(path).is_ours:
        if hints or prefix:
            raise WeightsError(
                f"{path}: a file of convgru itself needs no prefix and no hints, got {sorted([*hints, *(['prefix'] if prefix else [])])}"
            )
        weights: Weights = reader.read(path)
        return weights
    arrays, _ = reader.read_arrays(path)
    return _adopt(path, arrays, layout, prefix, hints)


def write(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write weights, whole or not at all; the suffix says how: ``.safetensors``, ``.npz``, or a framework's own (``.pt``, ``.msgpack``, ``.ckpt``).

    Raises TypeError for weights that are none, WeightsError for an unknown suffix, OSError, and ImportError if the framework is missing.

    >>> convgru.write(weights, "model.safetensors")  # doctest: +SKIP
    """
    if not isinstance(weights, Weights):
        raise TypeError(f"write expected convgru.Weights, got {type(weights).__name__}; extract(net) makes them")
    backend = backend_of(path)
    if backend is not None:
        registry.get(backend).write(weights, Path(path))
    elif Path(path).suffix.lower() == ".npz":
        npz_io.write(weights, path)
    else:
        safetensors_io.write(weights, path)


def _read_framework(path: Path, backend: str, layout: str | None, prefix: str | None, hints: dict[str, Any]) -> Weights:
    path.stat()  # OSError if there is no such file, whatever the framework's own loader makes of that
    room = registry.get(backend)
    if layout is None and prefix is None and not hints:
        return room.read(path)
    framework = registry.FRAMEWORKS[backend]
    raise WeightsError(
        f"{path}: prefix, layout and hints are for arrays of other systems: load them with {framework} itself, and hand the dict to convgru.adopt"
    )


def _adopt(path: object, arrays: Any, layout: str | None, prefix: str | None, hints: dict[str, Any]) -> Weights:
    try:
        return adopt(arrays, layout, prefix=prefix, **hints)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
