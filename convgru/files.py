"""Which reader and writer a file means: by its suffix, and where two frameworks share one, by how it begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convgru import registry
from convgru.errors import WeightsError
from convgru.formats import keras, npz, parametrized, safetensors
from convgru.formats.checkpoint import Contents, unwrapped
from convgru.importers import adopt, export, restore, specless
from convgru.spec import Spec
from convgru.weights import Weights

OURS = {".safetensors": "convgru's own format", ".npz": "the same arrays as NumPy writes them"}
FRAMEWORKS = {".pt": "torch", ".pth": "torch", ".msgpack": "flax", ".ckpt": "mindspore"}
"""Suffix of a framework's own checkpoints -> its backend. Each backend lists its own too; here no framework is imported."""
READ_ONLY = {".bin": "torch", ".tar": "torch", **dict.fromkeys(keras.SUFFIXES, "keras")}
"""What others write, and convgru only reads: pytorch_model.bin, model.pth.tar, Keras' files. A folder is orbax's."""
SUFFIXES = (*OURS, *FRAMEWORKS, *READ_ONLY)
ORBAX = ("_METADATA", "_CHECKPOINT_METADATA", "checkpoint")
"""What lies in a folder that is one checkpoint."""
TORCH = (b"PK\x03\x04", b"\x80")
"""How a .ckpt begins that is not MindSpore's: PyTorch Lightning's has the same suffix. A zip archive, or, before 1.6, a pickle."""


def backend_of(path: str | os.PathLike[str]) -> str | None:
    """The backend that writes files with this suffix; None if the core does. Raises WeightsError if nobody does."""
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

    The suffix says how the arrays are stored: safetensors, .npz, PyTorch's (.pt, .pth, .bin, .tar, Lightning's .ckpt), Flax's .msgpack,
    a folder of orbax, MindSpore's .ckpt, Keras' .keras, .weights.h5 and .h5. If convgru did not write the file, the layout of its
    arrays is recognised, or ``layout`` says it (convgru.importers.LAYOUTS); ``hints`` are as for ``convgru.adopt``. ``prefix`` says how
    the names of the arrays begin of which the network consists, if the file holds several. Checkpoints of a framework need that
    framework, those of Keras h5py. Nothing in a file is ever executed.

    Raises WeightsError, and nothing else, whatever the bytes are; OSError if the file cannot be opened; ImportError, with
    the command that mends it, if the framework that the suffix means is missing.

    >>> weights = convgru.read("model.safetensors")  # doctest: +SKIP
    """
    found = contents(path)
    try:
        return weights_in(found, layout, prefix and unwrapped(prefix), hints)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def weights_in(found: Contents, layout: str | None, prefix: str | None, hints: Mapping[str, Any]) -> Weights:
    """The weights of the one network among the contents of a file, or of the one that ``prefix`` chooses. Raises WeightsError."""
    if found.specs and layout is None and not found.leads_elsewhere(prefix):
        if hints or (prefix and "" in found.specs):
            told = sorted([*hints, *(["prefix"] if prefix else [])])
            raise WeightsError(f"a file of convgru itself needs no prefix and no hints, got {told}")
        return found.network(prefix)
    arrays = numbers(found)
    names = [*arrays, *parametrized.unknown(arrays)]
    if layout == specless.LAYOUT and specless.prefixes(names):
        return without_spec(arrays, hints).network(prefix)
    if layout is None and specless.prefixes([name for name in names if name.startswith(prefix or "")]):
        raise WeightsError(specless.ADVICE)
    return adopt(arrays, layout, prefix=prefix, configs=found.configs, **hints)


def contents(path: str | os.PathLike[str]) -> Contents:
    """All arrays of a file by flat name, whoever wrote it, and the networks that it says it holds. Raises as ``read``."""
    reader = _reader_of(Path(path))
    if reader is safetensors or reader is npz:
        if reader.read_header(path).is_ours:
            weights: Weights = reader.read(path)
            return Contents(weights.arrays, {"": weights.spec})
        arrays, _ = reader.read_arrays(path)
        return Contents(arrays).unwrapped()
    found: Contents = reader.contents(Path(path))
    return found.unwrapped()


def read_as(path: str | os.PathLike[str], layout: str, spec: Spec) -> Weights:
    """The weights of a network of a known spec in a file that ``write`` wrote in another system's layout. Raises as ``read``."""
    try:
        return restore(contents(path).arrays, layout, spec)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def write(weights: Weights, path: str | os.PathLike[str], layout: str | None = None) -> None:
    """Write weights, whole or not at all; the suffix says how: ``.safetensors``, ``.npz``, or a framework's own (``.pt``, ``.msgpack``, ``.ckpt``).

    With a ``layout`` (one of ``convgru.importers.LAYOUTS``) the file is one of that system, which it loads as its own: a state dict
    in ``.pt``, parameters of Flax linen in ``.msgpack``, ``.weights.h5`` of Keras; it then holds no spec. Raises TypeError for weights that are
    none, WeightsError for an unknown suffix or a network that the other system does not have, OSError, and ImportError if the framework is
    missing.

    >>> convgru.write(weights, "model.safetensors")  # doctest: +SKIP
    >>> convgru.write(weights, "old.pt", layout="convlstm_pytorch")  # doctest: +SKIP
    """
    if not isinstance(weights, Weights):
        raise TypeError(f"write expected convgru.Weights, got {type(weights).__name__}; extract(net) makes them")
    if layout is not None:
        _write_arrays(export(weights, layout), Path(path))
        return
    backend = backend_of(path)
    if backend is not None:
        registry.checkpoints(backend).write(weights, Path(path))
    elif Path(path).suffix.lower() == ".npz":
        npz.write(weights, path)
    else:
        safetensors.write(weights, path)


def _write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Arrays under the names that they have elsewhere, as the suffix says."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        npz.write_arrays(arrays, path)
    elif suffix == ".safetensors":
        safetensors.write_arrays(arrays, path)
    elif suffix in keras.SUFFIXES:
        keras.write(arrays, path)
    else:
        backend = backend_of(path)
        assert backend is not None  # the core's own suffixes came before
        registry.checkpoints(backend).write_arrays(arrays, path)


def numbers(found: Contents) -> dict[str, np.ndarray]:
    """The arrays of a file without the counters that norms and trainers keep beside the weights."""
    return {name: array for name, array in found.arrays.items() if array.ndim or array.dtype.kind not in "iub"}


def without_spec(arrays: Mapping[str, np.ndarray], hints: Mapping[str, Any]) -> Contents:
    """Arrays under convgru's own names, whose spec was lost on the way, with the specs that their shapes imply."""
    arrays = parametrized.with_weights(arrays)
    if parts := {name: parts for name, parts in parametrized.unknown(arrays).items() if specless.is_ours(name)}:
        raise WeightsError(parametrized.advice(parts))
    starts = specless.prefixes(arrays)
    shapes = {start: {n[len(start) :]: a.shape for n, a in arrays.items() if n.startswith(start)} for start in starts}
    return Contents(arrays, {start: specless.spec_of(shapes[start], hints) for start in starts})


def _reader_of(path: Path) -> Any:
    """The module that reads a file, found without importing any framework but the one that it needs."""
    suffix = path.suffix.lower()
    if suffix in OURS:
        return npz if suffix == ".npz" else safetensors
    known = {**FRAMEWORKS, **READ_ONLY}
    if suffix not in known and not path.is_dir():
        raise WeightsError(f"{path}: expected a suffix of {', '.join([*OURS, *known])}, got {suffix or 'none'!r}")
    if known.get(suffix) == "keras":
        return keras
    path.stat()  # OSError if there is no such file, whatever the framework's own loader makes of that
    if path.is_dir():
        return registry.checkpoints("flax")
    if not path.is_file():
        raise WeightsError(f"{path}: expected a file, got something else (a pipe or a device)")
    if suffix == ".ckpt":
        with path.open("rb") as file:
            return registry.checkpoints("torch" if file.read(4).startswith(TORCH) else "mindspore")
    return registry.checkpoints(known[suffix])
