"""Flax checkpoints: flax.serialization's msgpack files, and orbax folders (read only)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from flax import serialization, traverse_util

from convgru.errors import WeightsError
from convgru.formats import atomic, checksums
from convgru.formats.contents import Contents
from convgru.spec import from_json, to_json
from convgru.weights import Weights
from convgru_flax import checkpoint_foreign


def write(weights: Weights, path: Path) -> None:
    """Write ``{"spec": JSON text, "sha256": JSON text, "params": {canonical name: array}}``.

    flax.serialization.msgpack_restore reads it. The write is atomic.
    """
    spec = to_json(weights.spec)
    tree = {"spec": spec, checksums.NAME: checksums.text_of(spec, weights.arrays), "params": dict(weights.arrays)}
    data = serialization.msgpack_serialize(tree, in_place=True)  # or Flax copies the tree
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(data)


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write ``{"params": tree}`` atomically; slashes in the names become branches of the tree."""
    branches = {tuple(name.split("/")): array for name, array in arrays.items()}
    tree = {"params": traverse_util.unflatten_dict(branches)}  # type: ignore[no-untyped-call]
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(serialization.msgpack_serialize(tree))


def contents(path: Path, file: BinaryIO | None = None) -> Contents:
    """Read every array of a msgpack file or orbax folder by path; and the spec if convgru wrote it.

    ``file`` is the file at ``path`` if it is open already. Raises WeightsError for any other bytes,
    OSError if there is no such file.
    """
    is_folder = path.is_dir()
    data = b"" if is_folder else path.read_bytes() if file is None else file.read()
    try:
        if is_folder:
            return Contents(checkpoint_foreign.read_orbax(path))
        if not data:
            raise WeightsError("it is empty")
        tree = checkpoint_foreign.read_msgpack(data)
        return _our_contents(tree) if _is_ours(tree) else Contents(checkpoint_foreign.arrays_by_path(tree))
    except Exception as error:  # whatever msgpack, orbax or NumPy make of bytes that nobody wrote for them
        kind = "folder of orbax" if is_folder else "msgpack file of Flax"
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: not a {kind} ({type(error).__name__}: {reason})") from None


def _is_ours(tree: Mapping[str, Any]) -> bool:
    return isinstance(tree.get("spec"), str) and set(tree) - {checksums.NAME} == {"spec", "params"}


def _our_contents(tree: Mapping[str, Any]) -> Contents:
    """Return the contents of a file that ``write`` wrote.

    ``Weights`` checks that the arrays are those of the spec.
    """
    params, sums = tree["params"], tree.get(checksums.NAME)
    if not isinstance(params, dict):
        raise WeightsError(f"expected params to be a map of names, got {type(params).__name__}")
    for name, array in params.items():
        if not isinstance(array, np.ndarray):
            raise WeightsError(f"{name} expected an array, got {type(array).__name__}")
    try:
        spec = from_json(tree["spec"])
    except ValueError as error:
        raise WeightsError(str(error)) from None
    # The arrays are read-only views of the file's bytes.
    weights = Weights(spec, {name: np.array(array) for name, array in params.items()})
    if sums is not None:
        if not isinstance(sums, str):
            raise WeightsError(f"{checksums.NAME} (checksums) expected a text, got {type(sums).__name__}")
        checksums.check_text(sums, tree["spec"], weights.arrays)
    return Contents(weights.arrays, {"": weights.spec}, verified=sums is not None)
