"""Read Keras' files and the configs of their recurrent layers; write .weights.h5.

Keras 3 writes .keras and .weights.h5, older versions .h5.

Nothing is passed to Keras' own load_model, which may run code from a file.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from convgru import strict_json
from convgru.errors import WeightsError
from convgru.formats import atomic, hdf5, zip_limits
from convgru.formats.contents import Contents
from convgru.formats.keras_config import is_old, recurrent_layers
from convgru.formats.names import below

SUFFIXES = (".keras", ".h5", ".hdf5")
WRITTEN = ".weights.h5"
"""Suffix of the files that hold weights alone, which ``load_weights`` of Keras 3 reads."""
MAX_CONFIG = 4 << 20
"""Limit on a config, which takes some forty times its length once it is parsed."""
MAX_NAME = 1000
MAX_DEPTH = 200
"""How deep a config may be nested: a model inside another takes some ten levels."""
_PLACE = re.compile(r"(?P<place>(?:.*?/)??)(?P<direction>(?:forward_layer|backward_layer)/)?cell/vars/\d", re.DOTALL)
_GROUP = re.compile(r"layers/[^/]+/")
OLD_CELL = re.compile(r"/conv_lst_?m\w*cell(_\d+)?$")


def contents(path: str | os.PathLike[str]) -> Contents:
    """Return the arrays of a file, and its recurrent layers' arguments.

    Arrays are named as the user named the layers; those of optimisers are left out.

    A ``.weights.h5`` holds no arguments. Raises WeightsError, and nothing else, whatever the bytes
    are; OSError if the file cannot be opened; ImportError, with the command that mends it, without
    h5py.
    """
    hdf5.h5py()
    where = Path(path)
    if where.exists() and not where.is_file() and not where.is_dir():
        raise WeightsError(f"{path}: expected a file, got something else (a pipe or a device)")
    with where.open("rb") as file, _unsound_is_an_error(path):
        if file.read(4) == b"PK\x03\x04":
            return _from_archive(file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        return _from_hdf5(file.read())


@contextmanager
def _unsound_is_an_error(path: object) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # bytes chosen by others: HDF5 and zipfile raise a dozen kinds, WeightsError among them
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        raise WeightsError(f"{path}: expected a sound file of Keras: {reason}") from None


def _from_archive(file: Any, size: int) -> Contents:
    """A .keras file: a zip of metadata.json, config.json and model.weights.h5."""
    with zipfile.ZipFile(file) as archive:
        zip_limits.check(archive, size)
        missing = {"metadata.json", "config.json", "model.weights.h5"} - set(archive.namelist())
        if missing:
            raise WeightsError(f"expected the entries of a .keras file, {', '.join(sorted(missing))} is missing")
        for name in ("config.json", "metadata.json"):
            if (length := archive.getinfo(name).file_size) > MAX_CONFIG:
                raise WeightsError(f"{name} expected at most {MAX_CONFIG} bytes, got {length}")
        config, about = (_json(archive.read(name), name) for name in ("config.json", "metadata.json"))
        weights = archive.read("model.weights.h5")
    tree = hdf5.read(weights, {"name": MAX_NAME}, ("optimizer",))
    arrays, names = tree.arrays, _names_of_layers(tree)
    version = about.get("keras_version") if isinstance(about, dict) else None
    configs = {f"{path}/": options for _, path, options in recurrent_layers(config, "", (), is_old(version))}
    return _by_user_names(Contents(arrays, configs=_present(configs, arrays)), names)


def _from_hdf5(data: bytes) -> Contents:
    """A .weights.h5 file of Keras 3, or the older .h5, with a config if it holds a whole model."""
    tree = hdf5.read(data, {"name": MAX_NAME, "model_config": MAX_CONFIG, "keras_version": 100}, ("optimizer",))
    names, about = _names_of_layers(tree), tree.texts[""]
    config, version = about.get("model_config"), about.get("keras_version")
    arrays = _named_as_today(
        {name.removesuffix(":0"): array for name, array in tree.arrays.items()}
    )  # :0: TensorFlow's
    if config is None:
        return _by_user_names(Contents(arrays), names)
    described = list(recurrent_layers(_json(config.encode(), "model_config"), "", (), is_old(version)))
    there = _legacy_places(arrays)
    places = [_legacy_prefix(inside, there) for inside, _, _ in described]
    configs = {place: options for place, (_, _, options) in zip(places, described, strict=True)}
    names = {place: "/".join((*inside[1:], "")) for place, (inside, _, _) in zip(places, described, strict=True)}
    return _by_user_names(Contents(arrays, configs=_present(configs, arrays)), names)


def _names_of_layers(tree: hdf5.Tree) -> dict[str, str]:
    """Map each layer's path in a file of Keras 3 to the path by the user's names.

    For example ``layers/conv_lstm2d_1/`` to ``decoder/``.

    A file keeps the name that the user gave a layer as the attribute ``name`` of the group ``vars``
    below it.
    """
    places = {name[: hit.end()] for name in tree.arrays for hit in _GROUP.finditer(name)}
    names: dict[str, str] = {}
    for place in sorted(places, key=len):
        name = tree.texts.get(f"{place}vars", {}).get("name")
        if name and "/" not in name:
            names[place] = names.get(_longest(place, names), "") + name + "/"
    return names


def _longest(path: str, places: Mapping[str, str]) -> str:
    """Return the longest of the paths in ``places`` that begin ``path``; empty if none does."""
    starts = (path[: hit.end()] for hit in reversed(list(re.finditer("/", path))))
    return next((start for start in starts if start in places), "")


def _by_user_names(held: Contents, names: Mapping[str, str]) -> Contents:
    """Replace the layers' paths by the user's names, unless two would be the same."""

    def renamed(path: str) -> str:
        place = _longest(path, names)
        return names.get(place, "") + path[len(place) :]

    arrays = {renamed(name): array for name, array in held.arrays.items()}
    if len(arrays) != len(held.arrays):
        return held
    configs = {renamed(place): options for place, options in held.configs.items()}
    return Contents(arrays, configs=configs, aliases=dict(names))


def _named_as_today(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name the arrays of recurrent layers as Keras 3 does, below ``conv_lstm_cell``.

    Older versions leave that part out or number it.
    """
    cells = {
        name.removesuffix("/recurrent_kernel")
        for name, array in arrays.items()
        if name.endswith("/recurrent_kernel") and array.ndim > 2
    }
    today = {cell: OLD_CELL.sub("", cell) + "/conv_lstm_cell" for cell in cells}
    renamed = {}
    for name, array in arrays.items():
        group, _, array_name = name.rpartition("/")
        renamed[f"{today[group]}/{array_name}" if group in today else name] = array
    return renamed if len(renamed) == len(arrays) else dict(arrays)


def _json(text: bytes, what: str) -> Any:
    return strict_json.loads(text.decode(), what, MAX_CONFIG, MAX_DEPTH)


def _present(configs: Mapping[str, Any], arrays: Mapping[str, Any]) -> dict[str, Any]:
    names = sorted(arrays)
    return {prefix: options for prefix, options in configs.items() if any(below(names, prefix))}


def _legacy_places(arrays: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Map names of an outermost layer and of a layer in it to the prefix of that layer's arrays.

    In the older format the prefix ends with the last part that is the layer's name.
    """
    places: dict[tuple[str, str], str] = {}
    for parts in (name.split("/") for name in arrays):
        for last in range(len(parts) - 2, 0, -1) if parts[0] == "model_weights" else ():
            places.setdefault((parts[1], parts[last]), "/".join(parts[: last + 1]) + "/")
    return places


def _legacy_prefix(names: tuple[str, ...], places: Mapping[tuple[str, str], str]) -> str:
    """The prefix of the arrays of a layer in the older format, given the names around it."""
    usual = "/".join(("model_weights", *names[1:], ""))
    return places.get((names[min(1, len(names) - 1)], names[-1]), usual)


def write(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write a file that ``load_weights`` of Keras 3 takes, whole or not at all.

    Args:
        arrays: Those of one layer, ``cell/vars/0`` … or ``forward_layer/cell/vars/0`` … of both
            directions, at the layer's place in a model (``layers/conv_lstm2d_1/cell/vars/0``).
            Without a place they are those of the model's first such layer.
        path: The file. The layer's arguments are no part of it.

    Raises:
        WeightsError: Another suffix, other names, or bfloat16.
        ImportError: h5py is missing; the message holds the command that installs it.
    """
    if not str(path).lower().endswith(WRITTEN):
        raise WeightsError(f"{path}: expected a suffix {WRITTEN}, the only file of Keras that holds weights alone")
    if any(array.dtype.kind == "V" for array in arrays.values()):
        raise WeightsError(f"{path}: HDF5 has no bfloat16: write float32 (Weights.astype)")
    parts = {name: _PLACE.fullmatch(name) for name in arrays}
    other = [name for name, match in parts.items() if match is None]
    if other:
        raise WeightsError(f"{path}: expected arrays of a Keras layer (layout 'keras'), got {', '.join(other[:3])}")
    places = {match["place"] for match in parts.values() if match and match["place"]}
    if others := sorted(place for place in places if not place.startswith("layers/")):
        raise WeightsError(
            f"{path}: expected a prefix layers/NAME as the model's file has it (layers/conv_lstm2d_1), got {others[0]!r}"
        )
    both = any(match["direction"] for match in parts.values() if match)
    layer = "bidirectional" if both else f"conv_lstm{_ndim(arrays)}d"
    # In memory first: where the disk is full HDF5 raises what says nothing of that.
    image = BytesIO()
    with hdf5.h5py().File(image, "w") as file:
        file.create_group("vars").attrs["name"] = "functional"
        for name, match in parts.items():
            place = (match["place"] if match else "") or f"layers/{layer}/"
            file.require_group(f"{place}vars").attrs["name"] = place.strip("/").rpartition("/")[2]
            file.create_dataset(place + name[len(match["place"] if match else "") :], data=arrays[name])
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def _ndim(arrays: Mapping[str, np.ndarray]) -> int:
    return max(array.ndim for array in arrays.values()) - 2
