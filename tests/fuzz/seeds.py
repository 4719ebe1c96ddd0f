"""The formats that are fuzzed: sound files to start from, and how they are mutated."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from random import Random
from typing import Any

import mutate_hdf5
import numpy as np
from mutate_containers import change_npy, change_safetensors, change_zip
from mutate_messages import change_mindspore, change_msgpack
from mutate_pickles import change_legacy, change_torch
from mutate_values import change_tree, integer

import convgru
from convgru import importers
from convgru.formats import safetensors
from convgru.spec import from_json, to_json
from convgru.spec.shapes import count_parameters, parameter_shapes
from convgru.weights import Weights

GOLDENS = Path(__file__).resolve().parents[1] / "goldens" / "foreign"
Files = dict[str, bytes]
"""A file is ``{"": bytes}``, a folder its files by relative path."""
SPECS = (
    convgru.network("gru", 1, 2),
    convgru.network("lstm", 2, [2, 3], kernel_size=1, bidirectional=True, peephole="conv", norm=1),
    convgru.network("rnn", 1, 2, 1, ndim=1, activation="relu", padding_mode="circular"),
    convgru.network("gru", 2, 2, reset="after", stride=2, updates=((1, 3), (3, 1)), zoneout=0.1),
    convgru.forecaster("gru", 1, 2, patch=2, decoder=True),
)
WEIGHTS = tuple(convgru.init(spec, 1) for spec in SPECS)


@dataclass(frozen=True)
class Format:
    """One kind of file: its suffix, sound files, and their mutation."""

    suffix: str
    seeds: Callable[[], list[Files]]
    change: Callable[[Random, Files], Files]


def _one(change: Callable[[Random, bytes], bytes]) -> Callable[[Random, Files], Files]:
    return lambda rng, files: {"": change(rng, files[""])}


def _written(suffix: str, *, layout: str | None = None, of: tuple[Weights, ...] = WEIGHTS) -> list[Files]:
    """Files that convgru writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"w{suffix}"
        made = []
        for weights in of:
            convgru.write(weights, path, layout=layout)
            made.append({"": path.read_bytes()})
    return made


def _goldens(*names: str) -> list[Files]:
    return [{"": (GOLDENS / name).read_bytes()} for name in names]


def _exports() -> list[dict[str, np.ndarray]]:
    """Arrays as other systems name them."""
    lstm, gru = convgru.init(convgru.network("lstm", 1, 2), 1), WEIGHTS[0]
    rnn = convgru.init(convgru.network("rnn", 1, 2, activation="relu"), 1)
    systems = (("convolutional_rnn", rnn), ("pytorch_convgru", gru), ("convlstm_pytorch", lstm), ("linen", lstm))
    return [dict(importers.export(weights, system)) for system, weights in systems]


def _safetensors() -> list[Files]:
    import safetensors.numpy as package

    return [*_written(".safetensors"), *({"": package.save(arrays)} for arrays in _exports())]


def _npz() -> list[Files]:
    made = []
    for arrays in _exports():
        buffer = io.BytesIO()
        np.savez(buffer, **{name.replace("/", "."): array for name, array in arrays.items()})
        made.append({"": buffer.getvalue()})
    return made


def _hub() -> list[Files]:
    import safetensors.numpy as package

    config = {"in_channels": 1, "hidden_channels": [2], "kernel_size": 3, "reset": "before", "batch_first": True}
    plain = package.save({name: np.ascontiguousarray(a) for name, a in WEIGHTS[0].arrays.items()})
    configs = (config, {"spec": to_json(SPECS[0])}, {"convgru": {"spec": json.loads(to_json(SPECS[0]))}})
    return [{"config.json": json.dumps(each).encode(), "model.safetensors": plain} for each in configs]


def _torch(**options: Any) -> list[Files]:
    import torch

    def saved(thing: Any) -> Files:
        buffer = io.BytesIO()
        torch.save(thing, buffer, **options)
        return {"": buffer.getvalue()}

    net: Any = convgru.build(WEIGHTS[0], "torch")
    exports = [{name: torch.from_numpy(np.array(a)) for name, a in arrays.items()} for arrays in _exports()[:3]]
    trainer = {
        "epoch": 3,
        "model": net.state_dict(),
        "optimizer": {"param_groups": [{"lr": 0.1}]},
        "args": {"k": [1, "x"]},
    }
    ours = [] if options else _written(".pt", of=WEIGHTS[:2])
    return [
        *ours,
        saved(net.state_dict()),
        saved(trainer),
        saved(torch.nn.Sequential(net).state_dict()),
        *map(saved, exports),
    ]


def _orbax() -> list[Files]:
    import orbax.checkpoint as ocp

    tree: dict[str, Any] = {}
    for name, array in _exports()[3].items():
        *folders, last = name.split("/")
        reduce(lambda inner, part: inner.setdefault(part, {}), folders, tree)[last] = np.asarray(array)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for number, options in enumerate(({"use_ocdbt": False}, {"use_ocdbt": False, "use_zarr3": True}, {})):
            place = Path(folder) / str(number)
            ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)).save(
                place, tree if "params" in tree else {"params": tree}
            )
            files = [path for path in sorted(place.rglob("*")) if path.is_file()]
            made.append({path.relative_to(place).as_posix(): path.read_bytes() for path in files})
    return made


def _change_spec(rng: Random, files: Files) -> Files:
    """Mutate a spec, and write arrays that fit it wherever it is one."""
    weights = rng.choice(WEIGHTS)
    tree = json.loads(to_json(weights.spec))
    if rng.random() < 0.5:
        tree = change_tree(rng, tree)
    else:  # sizes alone: what is absurd and still a spec
        network = tree.get("encoder") or tree
        layer = rng.choice(network["layers"])
        names = [name for name, value in layer.items() if isinstance(value, (int, list)) and name != "updates"]
        for name in rng.sample(names, rng.choice((1, 1, 2, 3))):
            layer[name] = _sizes(rng, layer[name])
    text = json.dumps(tree)
    try:
        spec = from_json(text)
        if count_parameters(spec) < 50_000:
            return {"": safetensors.to_bytes(Weights(spec, _arrays(spec)))}
    except ValueError:
        pass
    note = json.dumps({"format": 1, "spec": tree})
    length = int.from_bytes(files[""][:8], "little")
    header = json.dumps({**json.loads(files[""][8 : 8 + length]), "__metadata__": {"convgru": note}}).encode()
    return {"": len(header).to_bytes(8, "little") + header + files[""][8 + length :]}


def _sizes(rng: Random, old: Any) -> Any:
    if isinstance(old, list):
        if old and rng.random() < 0.4:
            return [_sizes(rng, old[0])] * len(old)
        return [_sizes(rng, each) if rng.random() < 0.7 else each for each in old]
    if isinstance(old, bool) or not isinstance(old, int):
        return old
    return rng.choice((abs(integer(rng)), rng.randrange(1, 50), 10 ** rng.randrange(2, 7)))


def _arrays(spec: Any) -> Mapping[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {n: generator.standard_normal(shape).astype(np.float32) for n, shape in parameter_shapes(spec).items()}


H5 = ("keras_convlstm1d_same.h5", "keras_convlstm3d_valid.h5", "keras_convlstm2d_sequential.h5")
FORMATS: dict[str, Format] = {
    "safetensors": Format(".safetensors", _safetensors, _one(change_safetensors)),
    "spec": Format(".safetensors", lambda: _written(".safetensors"), _change_spec),
    "npz": Format(".npz", _npz, _one(lambda rng, data: change_zip(rng, data, change_npy))),
    "hub": Format("", _hub, mutate_hdf5.change_folder),
    "keras": Format(
        ".keras",
        lambda: _goldens(*(name.replace(".h5", ".keras") for name in H5)),
        _one(mutate_hdf5.change_keras),
    ),
    "h5": Format(".h5", lambda: _goldens(*H5), _one(mutate_hdf5.change_h5_config)),
    "weights.h5": Format(
        ".weights.h5",
        lambda: _goldens(*(name.replace(".h5", ".weights.h5") for name in H5)),
        _one(mutate_hdf5.change_hdf5),
    ),
    "pt": Format(".pt", _torch, _one(change_torch)),
    "pth": Format(".pth", lambda: _torch(_use_new_zipfile_serialization=False), _one(change_legacy)),
    "msgpack": Format(
        ".msgpack",
        lambda: _written(".msgpack") + _goldens("flax_convlstm1d.msgpack", "flax_convlstm2d.msgpack"),
        _one(change_msgpack),
    ),
    "orbax": Format("", _orbax, mutate_hdf5.change_folder),
    "ckpt": Format(".ckpt", lambda: _written(".ckpt"), _one(change_mindspore)),
}
