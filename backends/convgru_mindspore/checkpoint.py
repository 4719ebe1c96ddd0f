"""MindSpore's own checkpoint files (.ckpt), with the spec beside the parameters."""

from __future__ import annotations

import os
import tempfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from google.protobuf import message
from mindspore.train import checkpoint_pb2

from convgru.registry import UnsupportedError
from convgru.shapes import parameter_shapes
from convgru.spec import from_json, to_json
from convgru.weights import Weights, WeightsError
from convgru_mindspore.parameters import parameter

schema: Any = checkpoint_pb2  # its classes come into being at import, out of sight of type checkers
KEY = "convgru_spec"
"""Where the spec stands among the entries of the file, as JSON text."""
CHECKSUM = b"crc_num"
"""What MindSpore puts before the checksum, the last ten bytes."""
TYPES: dict[str, np.dtype[Any]] = {"Float64": np.dtype("<f8"), "Float32": np.dtype("<f4"), "Float16": np.dtype("<f2")}
"""What MindSpore calls the dtypes that weights may have here."""


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
        ms.save_checkpoint(entries, str(draft), append_dict={KEY: to_json(weights.spec)}, crc_check=True)
        mask = os.umask(0)
        os.umask(mask)
        draft.chmod(0o666 & ~mask)  # MindSpore leaves it read-only
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)


def read(path: Path) -> Weights:
    """The weights that ``write`` wrote. Raises WeightsError for whatever else the bytes are, OSError if there is no file."""
    path = Path(path)
    content = path.read_bytes()
    try:
        return _weights(_entries(_checked(content)))
    except WeightsError as error:
        raise WeightsError(f"{path.name}: {error}") from error
    except (ValueError, TypeError, RecursionError, message.Error) as error:
        raise WeightsError(f"{path.name} is not a MindSpore checkpoint that convgru can read: {error}") from error


def _checked(content: bytes) -> bytes:
    """The content without its trailing checksum, if there is one and it is right."""
    mark = len(content) - len(CHECKSUM) - 10
    if content[max(mark, 0) :][: len(CHECKSUM)] != CHECKSUM:
        return content
    told = int.from_bytes(content[-10:], "big")
    if zlib.crc32(content[:mark]) != told:
        raise WeightsError("the checksum does not fit: the file is damaged")
    return content[:mark]


def _entries(content: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, dims and bytes of each entry by name.

    Read through MindSpore's own protobuf schema but not its loader, which trusts the dims that the file states and reads
    memory beyond a short entry. A long entry comes in pieces, one after the other under one name.
    """
    pieces: dict[str, tuple[str, tuple[int, ...], list[bytes]]] = {}
    last = None
    for element in schema.Checkpoint.FromString(content).value:
        tag, tensor = element.tag, element.tensor
        head = (tensor.tensor_type, tuple(tensor.dims))
        if tag in pieces and (tag != last or pieces[tag][:2] != head):
            raise WeightsError(f"the entry {tag!r} is there twice")
        pieces.setdefault(tag, (*head, []))[2].append(tensor.tensor_content)
        last = tag
    return {tag: (kind, dims, b"".join(parts)) for tag, (kind, dims, parts) in pieces.items()}


def _weights(entries: dict[str, tuple[str, tuple[int, ...], bytes]]) -> Weights:
    kind, _, text = entries.pop(KEY, ("", (), b""))
    if kind != "str":
        raise WeightsError(f"no spec (entry {KEY!r}): convgru.mindspore did not write this checkpoint")
    spec = from_json(text.decode("utf-32-le"))
    shapes = parameter_shapes(spec)
    arrays: dict[str, np.ndarray] = {}
    for name, (kind, dims, data) in entries.items():
        dtype = TYPES.get(kind)
        if dtype is None:
            raise WeightsError(f"{name} expected one of {', '.join(TYPES)}, got {kind!r}")
        if name in shapes and dims != shapes[name]:
            raise WeightsError(f"{name} expected shape {shapes[name]}, got {dims}")
        if len(data) != prod(dims) * dtype.itemsize:
            raise WeightsError(f"{name} expected {prod(dims) * dtype.itemsize} bytes, got {len(data)}")
        arrays[name] = np.frombuffer(data, dtype).reshape(dims).copy()
    return Weights(spec, arrays)
