"""SHA-256 of a spec and of each array, which files of convgru carry, verified as they are read."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from convgru import strict_json
from convgru.errors import WeightsError

MAX_TEXT = 4 << 20
"""Limit on the checksums as JSON text: some hundred bytes for each array."""
MAX_NOTE = MAX_TEXT + (1 << 20)
"""Limit on checksums and a spec."""
NAME = "sha256"
"""What files call them."""


def note(spec: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return ``{"spec": the spec, "sha256": checksums}``, a spec being given by its JSON text."""
    return {"spec": json.loads(spec), NAME: of(spec, arrays)}


def in_text(text: str) -> tuple[str, Any]:
    """Return the spec's JSON text and the checksums in the JSON text of a note.

    The text of a spec alone is one without checksums, which are None. Raises ValueError.
    """
    data = strict_json.loads(text, "spec", MAX_NOTE)
    if not isinstance(data, dict) or data.keys() - {NAME} != {"spec"}:
        return text, None
    return in_note(data)


def in_note(data: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the spec's JSON text, as ``to_json`` orders it, and the checksums, or None."""
    return json.dumps(data["spec"], sort_keys=True), data.get(NAME)


def of(spec: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the checksums of a spec's JSON text and of each array, as JSON holds them."""
    return {"spec": _of_text(spec), "arrays": {name: _of_array(array) for name, array in arrays.items()}}


def text_of(spec: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the checksums as JSON text."""
    return json.dumps(of(spec, arrays), sort_keys=True)


def check_text(text: str, spec: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Check a spec and arrays as they were read against JSON text; raises as ``check``."""
    try:
        checksums = strict_json.loads(text, f"{NAME} (checksums)", MAX_TEXT)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    check(checksums, spec, arrays)


def check(checksums: Any, spec: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Check a spec and arrays as they were read. Raises WeightsError, which names the arrays."""
    if not _are_checksums(checksums):
        raise WeightsError(f"{NAME} (checksums) expected texts for spec and arrays, got {str(checksums)[:80]}")
    expected: Mapping[str, str] = checksums["arrays"]
    if expected.keys() != arrays.keys():
        missing = sorted(expected.keys() ^ arrays.keys())
        raise WeightsError(f"{NAME} (checksums) expected those of the file's arrays; they differ in {_some(missing)}")
    changed = [name for name, array in arrays.items() if expected[name] != _of_array(array)]
    if checksums["spec"] != _of_text(spec):
        changed.insert(0, "the spec")
    if changed:
        raise WeightsError(
            f"the file was damaged, or changed after convgru wrote it: the SHA-256 of {_some(changed)} is another "
            f"(if the change is meant, save without {NAME!r}, which belongs to the old numbers)"
        )


def _are_checksums(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"spec", "arrays"}
        and isinstance(value["arrays"], dict)
        and all(isinstance(each, str) for each in (value["spec"], *value["arrays"].values()))
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(name[:80] for name in names[:8]) + more


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def _of_array(array: np.ndarray) -> str:
    """Hash dtype, shape and little-endian numbers: arrays that were exchanged differ from both."""
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape}\n".encode())
    plain = np.ascontiguousarray(array if sys.byteorder == "little" else array.byteswap())
    digest.update(plain.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
