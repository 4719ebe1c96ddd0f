"""MindSpore's own checkpoint files (.ckpt), with the spec beside the parameters."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from convgru.registry import UnsupportedError
from convgru.spec import from_json, to_json
from convgru.weights import Weights, WeightsError
from convgru_mindspore.parameters import parameter

KEY = "convgru_spec"
"""Where the spec stands among the entries of the file, as JSON text."""


def write(weights: Weights, path: Path) -> None:
    """Write parameters by canonical name and the spec as one more entry; the file appears whole or not at all.

    Raises UnsupportedError for bfloat16 and OSError where the disk says so.
    """
    if str(weights.dtype) == "bfloat16":
        raise UnsupportedError("MindSpore does not hold bfloat16 arrays on CPU: write float32 or a .safetensors file")
    path = Path(path)
    entries = [{"name": name, "data": parameter(array, name)} for name, array in weights.arrays.items()]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder) / "draft.ckpt"
        ms.save_checkpoint(entries, str(draft), append_dict={KEY: to_json(weights.spec)})
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)  # MindSpore leaves it read-only
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)


def read(path: Path) -> Weights:
    """The weights that ``write`` wrote. Raises WeightsError for whatever else the bytes are, OSError if there is no file."""
    path = Path(path)
    with path.open("rb"):
        pass
    with _readable_suffix(path) as name:
        try:
            entries = ms.load_checkpoint(str(name))
        except Exception as error:  # MindSpore raises ValueError, TypeError, RuntimeError, protobuf's own and more
            raise WeightsError(f"{path.name} is not a MindSpore checkpoint: {_first_line(error)}") from error
    return _weights(path.name, entries)


@contextlib.contextmanager
def _readable_suffix(path: Path) -> Any:
    """A path that ends in .ckpt, which MindSpore insists upon."""
    if path.suffix == ".ckpt":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "link.ckpt"
        link.symlink_to(path.resolve())
        yield link


def _weights(name: str, entries: dict[str, Any]) -> Weights:
    text = entries.pop(KEY, None)
    if not isinstance(text, str):
        raise WeightsError(
            f"{name} is a MindSpore checkpoint without convgru's spec (entry {KEY!r}): convgru.mindspore did not write it"
        )
    try:
        spec = from_json(text)
        arrays = {key: np.array(entry.asnumpy(), copy=True) for key, entry in entries.items()}
    except Exception as error:
        raise WeightsError(f"{name} does not hold weights that convgru can read: {_first_line(error)}") from error
    return Weights(spec, arrays)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
