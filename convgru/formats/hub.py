"""Read what a ``config.json`` says of a network: its spec, or constructor arguments.

Folders that ``save_pretrained`` writes (huggingface_hub's PyTorchModelHubMixin) hold
``config.json`` with the arguments of the class, and ``model.safetensors`` without convgru's
metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convgru import strict_json
from convgru.errors import WeightsError
from convgru.spec import Spec, from_json

CONFIG = "config.json"
MAX_CONFIG = 1 << 20
KEY = "convgru"
"""Under this key a config may hold a spec, as the metadata of convgru's own safetensors files do.
"""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CALL = ("batch_first", "device", "dtype", "training")
"""Constructor arguments that are no part of a spec."""


def weights_file(folder: Path) -> Path | None:
    """Return the file in a Hub folder that holds the weights; None if there is none."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def config_beside(path: Path) -> Spec | Mapping[str, Any] | None:
    """Return the spec, or the constructor arguments, in the ``config.json`` beside a checkpoint.

    Returns None if there is no such file, or if it describes something else. Raises WeightsError if
    it is not sound JSON of at most 1 MiB, or holds a spec that this version cannot read.
    """
    config = path.with_name(CONFIG)
    if not config.is_file():
        return None
    try:
        with config.open("rb") as file:
            text = file.read(MAX_CONFIG + 1).decode()
        data = strict_json.loads(text, CONFIG, MAX_CONFIG)
        return _described(data) if isinstance(data, dict) else None
    except ValueError as error:  # WeightsError and UnicodeDecodeError are ValueErrors
        raise WeightsError(f"{config}: {error}") from None


def _described(config: Mapping[str, Any]) -> Spec | Mapping[str, Any] | None:
    note = config.get(KEY, config.get("spec"))
    if isinstance(note, str):
        note = strict_json.loads(note, KEY, MAX_CONFIG)
    if isinstance(note, dict):
        return from_json(json.dumps(note.get("spec", note)))
    if config.get("kind") in ("network", "forecaster") and ("layers" in config or "encoder" in config):
        return from_json(json.dumps(config))
    if "hidden_channels" in config and ("in_channels" in config or "channels" in config):
        return {name: value for name, value in config.items() if name not in _CALL}
    return None
