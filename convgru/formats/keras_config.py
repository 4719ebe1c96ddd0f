"""Find the recurrent layers, and their arguments, in the config of a Keras model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from convgru.errors import WeightsError

LAYER = re.compile(r"ConvLSTM[123]D")
OPTIONS = (
    *("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate"),
    *("activation", "recurrent_activation", "use_bias", "go_backwards"),
)
"""The constructor arguments that arrays do not determine, or should agree with."""
Node = tuple[tuple[str, ...], str, Mapping[str, Any]]
"""A recurrent layer in a model.

It has the names of the models and layers around it and its own, its path in the format of Keras 3,
and its arguments.
"""


def is_old(version: Any) -> bool:
    """Whether a file is of tf.keras 2, or older: its hard_sigmoid is another function."""
    return isinstance(version, str) and version[:1].isdigit() and int(version.split(".")[0]) < 3


def recurrent_layers(node: Any, path: str, names: tuple[str, ...], old: bool) -> Iterator[Node]:
    """Yield the recurrent layers of a model in the order of its config.

    Keras 3 names the group of a layer after its class, with the number of layers of that class
    before it in the same model, and not after the layer. The legacy format uses the names of
    layers.
    """
    config = node.get("config") if isinstance(node, dict) else None
    kind = node.get("class_name") if isinstance(config, dict) else None
    if not isinstance(kind, str) or not isinstance(config, dict):
        return
    name = config.get("name")
    inside = (*names, name if isinstance(name, str) else "")
    if LAYER.fullmatch(kind):
        yield inside, path, _options(config, old)
    elif kind == "Bidirectional":
        backward = [each for _, _, each in recurrent_layers(config.get("backward_layer"), path, inside, old)]
        for _, _, options in recurrent_layers(config.get("layer"), path, inside, old):
            both = _of_both(options, backward[0] if backward else options)
            yield inside, path, {**both, "merge_mode": config.get("merge_mode", "concat")}
    elif isinstance(config.get("layer"), dict):  # TimeDistributed and other wrappers
        yield from recurrent_layers(config["layer"], f"{path}/layer".lstrip("/"), inside, old)
    layers = config.get("layers")
    count: Counter[str] = Counter()
    for layer in layers if isinstance(layers, list) else ():
        group = _snake(str(layer.get("class_name", ""))) if isinstance(layer, dict) else ""
        number = f"_{count[group]}" if count[group] else ""
        count[group] += 1
        yield from recurrent_layers(layer, f"{path}/layers/{group}{number}".lstrip("/"), inside, old)


def _of_both(forward: Mapping[str, Any], backward: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of two directions; one in which they differ is a text that no network has."""
    differ = {
        name: f"{value!r} forward and {backward[name]!r} backward"
        for name, value in forward.items()
        if name not in ("go_backwards", "data_format") and backward.get(name, value) != value
    }
    return {**forward, **differ}


def _snake(name: str) -> str:
    """ConvLSTM2D -> conv_lstm2d, TimeDistributed -> time_distributed."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _options(config: Mapping[str, Any], old: bool) -> dict[str, Any]:
    """The arguments of one layer, lists as tuples, functions by name."""
    options = {key: _plain(key, config[key]) for key in OPTIONS if key in config}
    for key in ("activation", "recurrent_activation"):
        value = options.get(key)
        if key in options:
            options[key] = "hard_sigmoid_0.2" if old and value == "hard_sigmoid" else value
    return options


def _plain(key: str, value: Any) -> Any:
    """Return an argument's value, which Keras may describe in full: a function, or a tuple."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
        return tuple(value["items"])
    name = value.get("config") if isinstance(value.get("config"), str) else value.get("class_name")
    if "activation" not in key or not isinstance(name, str):
        raise WeightsError(f"{key} of a layer expected a number, a name or a list, got {str(value)[:80]}")
    return name
