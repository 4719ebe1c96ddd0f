"""Change files of convgru, in each of its formats, as another program might."""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from safetensors import safe_open

from convgru.spec import Spec, from_json, to_json

FORMATS = {".safetensors": None, ".pt": "torch", ".msgpack": "flax", ".ckpt": "mindspore"}
"""Suffix -> the framework that writes such files."""
Change = Callable[[Spec, dict[str, Any]], tuple[Spec, dict[str, Any]]]


def installed(suffix: str) -> str:
    """Return the suffix; skip the test if its framework is missing."""
    framework = FORMATS[suffix]
    if framework is not None and importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    return suffix


def changed(path: Path, change: Change) -> None:
    """Write spec and arrays of a file anew, after ``change``, with the checksums as they were."""
    CHANGERS[path.suffix](path, change, keep=True)


def without_checksums(path: Path) -> None:
    """Write a file anew as it was, but without checksums."""
    CHANGERS[path.suffix](path, lambda spec, arrays: (spec, arrays), keep=False)


def _safetensors(path: Path, change: Change, keep: bool) -> None:
    with safe_open(path, "np") as file:
        note = json.loads(file.metadata()["convgru"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    spec, arrays = change(from_json(json.dumps(note["spec"])), arrays)
    note["spec"] = json.loads(to_json(spec))
    if not keep:
        del note["sha256"]
    safetensors.numpy.save_file(arrays, path, {"convgru": json.dumps(note)})


def _torch(path: Path, change: Change, keep: bool) -> None:
    import torch

    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("convgru_sha256.json"))
        sums = archive.read(name)
    state = torch.load(path, weights_only=True)
    note = state._metadata[""]["convgru"]
    spec, arrays = change(from_json(note["spec"]), {name: tensor.numpy() for name, tensor in state.items()})
    note["spec"] = to_json(spec)
    for key, array in arrays.items():
        state[key] = torch.from_numpy(array)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())
    if keep:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo(name), sums)


def _flax(path: Path, change: Change, keep: bool) -> None:
    from flax import serialization

    tree = serialization.msgpack_restore(path.read_bytes())
    spec, tree["params"] = change(from_json(tree["spec"]), tree["params"])
    tree["spec"] = to_json(spec)
    if not keep:
        del tree["sha256"]
    path.write_bytes(serialization.msgpack_serialize(tree))


def _mindspore(path: Path, change: Change, keep: bool) -> None:
    import mindspore as ms

    entries = ms.load_checkpoint(str(path))
    note = json.loads(entries.pop("convgru_spec"))
    spec, arrays = change(from_json(json.dumps(note["spec"])), {name: p.asnumpy() for name, p in entries.items()})
    note["spec"] = json.loads(to_json(spec))
    text = json.dumps(note) if keep else to_json(spec)
    path.unlink()
    saved = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
    ms.save_checkpoint(saved, str(path), append_dict={"convgru_spec": text}, crc_check=True)


CHANGERS = {".safetensors": _safetensors, ".pt": _torch, ".msgpack": _flax, ".ckpt": _mindspore}
