"""Read and write .pt files: state dicts with the spec in their metadata, or foreign ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from convgru.errors import WeightsError
from convgru.formats import checksums
from convgru.formats.atomic import replacing
from convgru.formats.contents import Contents
from convgru.spec import Spec, from_json
from convgru.weights import Weights
from convgru_torch.backend import build
from convgru_torch.checkpoint_foreign import array_of, load, state_dicts
from convgru_torch.numpy_bridge import as_numpy, to_tensor
from convgru_torch.parameters import FORMAT, METADATA

CHECKSUMS = f"convgru_{checksums.NAME}.json"
"""The entry of the archive that holds checksums, beside torch's own.

It belongs to the file. In the state dict's metadata it would go on through torch.load and
torch.save to numbers that were changed in between.
"""


def contents(path: Path, file: BinaryIO | None = None) -> Contents:
    """Read every tensor of a .pt file by flat name, and the specs in its state dicts' metadata.

    A state dict may be nested in what a trainer saved, under ``state_dict``, ``model`` or any other
    key, which becomes a prefix only if there are several. Values that are not tensors are left out,
    and so is the state of optimisers. Loaded with ``weights_only=True`` and in no other way.
    ``file`` is the file at ``path`` if it is open already.

    Raises:
        WeightsError: whatever the bytes are.
        OSError: if there is no such file.
    """
    with open(path, "rb") if file is None else nullcontext(file) as opened:
        state = load(Path(path), opened)
        try:
            return _contents(state, _checksums(opened))
        except (WeightsError, RecursionError) as error:
            raise WeightsError(f"{path}: {error}") from None


def _contents(state: Mapping[str, Any], sums: str | None) -> Contents:
    """Return the contents of what ``load`` returned, compared with checksums if there are any."""
    nested = dict(state_dicts(state))
    if not nested:
        raise WeightsError(f"expected tensors by name, got none in {type(state).__name__} of {len(state)}")
    arrays: dict[str, np.ndarray] = {}
    specs: dict[str, Spec] = {}
    for key, inner in nested.items():
        prefix = f"{key}." if key and len(nested) > 1 else ""
        for name, value in inner.items():
            array = array_of(prefix + name, value) if isinstance(value, Tensor) else None
            if array is not None:
                arrays[prefix + name] = array
        specs |= {prefix + name: spec for name, spec in _specs(getattr(inner, "_metadata", None))}
    if sums is not None:
        checksums.check_text(sums, _spec_text(state), arrays)
    return Contents(arrays, specs, verified=sums is not None).unwrapped()


def _specs(metadata: Any) -> Iterator[tuple[str, Spec]]:
    """Each spec in a state dict's metadata, with the prefix of its parameters' names."""
    for name, entry in metadata.items() if isinstance(metadata, Mapping) else ():
        if not isinstance(name, str) or not isinstance(entry, Mapping) or METADATA not in entry:
            continue
        note = entry[METADATA]
        if not isinstance(note, Mapping) or note.get("format") != FORMAT or not isinstance(note.get("spec"), str):
            got = note.get("format") if isinstance(note, Mapping) else type(note).__name__
            raise WeightsError(f"{name or 'metadata'}: expected a spec of format {FORMAT}, got {str(got)[:20]}")
        try:
            yield f"{name}." if name else "", from_json(note["spec"])
        except (ValueError, TypeError) as error:
            raise WeightsError(str(error)) from None


def _checksums(file: BinaryIO) -> str | None:
    """Return the checksums in a file that ``load`` has found sound; None if it has none."""
    file.seek(0)
    if not file.read(4).startswith(b"PK"):
        return None
    with zipfile.ZipFile(file) as archive:
        entries = [info for info in archive.infolist() if info.filename.rpartition("/")[2] == CHECKSUMS]
        if not entries:
            return None
        if len(entries) > 1 or entries[0].file_size > checksums.MAX_TEXT:
            raise WeightsError(f"expected one entry {CHECKSUMS} of at most {checksums.MAX_TEXT} bytes")
        try:
            return archive.read(entries[0]).decode()
        except Exception as error:  # bytes chosen by others: zipfile raises a dozen kinds
            raise WeightsError(f"the entry {CHECKSUMS}: {error}") from None


def _spec_text(state: Any) -> str:
    """Return the spec of a state dict that ``write`` wrote, as it stands there; else nothing."""
    metadata = getattr(state, "_metadata", None)
    entry = metadata.get("") if isinstance(metadata, Mapping) else None
    note = entry.get(METADATA) if isinstance(entry, Mapping) else None
    return str(note.get("spec")) if isinstance(note, Mapping) else ""


def write(weights: Weights, path: Path) -> None:
    """Write a .pt file: the state dict of the module that ``build`` makes of ``weights``.

    torch.load(weights_only=True) reads it. The archive has checksums as one more entry.
    """
    state = build(weights).state_dict()
    _save(state, path, checksums.text_of(_spec_text(state), {name: as_numpy(state[name]) for name in state}))


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a state dict of any names, as another system's ``load_state_dict`` takes it."""
    _save({name: to_tensor(array, "cpu") for name, array in arrays.items()}, path)


def _save(state: Mapping[str, Any], path: Path, sums: str | None = None) -> None:
    """Save a state dict, whole or not at all; OSError if the file cannot be written."""
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            recorder: Any = _Recorder(file)
            try:
                torch.save(state, recorder)
            except RuntimeError as error:  # what torch makes of whatever a file raises
                raise recorder.error or error from None
        if sums is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                root = archive.namelist()[0].partition("/")[0]
                archive.writestr(zipfile.ZipInfo(f"{root}/{CHECKSUMS}"), sums)


class _Recorder(io.BufferedIOBase):
    """Pass what is written on to a file, and keep the reason if that fails."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()
