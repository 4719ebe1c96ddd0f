"""Apply hints: arguments of the original's constructor, which complete or confirm a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convgru.importers.layout import Layout
from convgru.spec import NetworkSpec


class NoFitError(Exception):
    """Why a layout does not fit; ``adopt`` collects the reasons of all layouts."""


def spread(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hints in one dict, those in a nested mapping beside the others.

    Keras' ``bidirectional`` and OpenSTL's ``configs`` are such mappings.
    """
    flat_hints: dict[str, Any] = {}
    for name, given in hints.items():
        value = given.tolist() if hasattr(given, "tolist") else given  # NumPy scalars and arrays
        flat_hints |= (
            {str(inner): each for inner, each in value.items()} if isinstance(value, Mapping) else {name: value}
        )
    return flat_hints


def options_of(layout: Layout, hints: Mapping[str, Any], backward: bool) -> dict[str, Any]:
    """Return the arguments of ``spec.network`` besides sizes; a list is per dimension here.

    ``backward`` says whether the arrays have a backward direction.
    """
    options = dict(layout.options)
    for name, arguments in layout.choices.items():
        if name in hints:
            value = tuple(hints[name]) if isinstance(hints[name], list) else hints[name]
            value = layout.words.get(value, value) if isinstance(value, str) else value
            options |= dict.fromkeys(arguments, value)
    if layout.padding is not None and any(each != 1 for each in flat(options.get("stride", 1))):
        options["padding"] = layout.padding
    if layout.form == "oi" and "ndim" in hints:
        options["ndim"] = _ndim(hints["ndim"])
    return {**options, "bidirectional": layout.bidirectional if backward else None}


def assumed_of(layout: Layout, spec: NetworkSpec, hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments that were assumed, with their defaults.

    They are those that change the output and that neither arrays nor hints give.
    """
    first = spec.layers[0]
    assumed: dict[str, Any] = {}
    for name, arguments in layout.choices.items():
        if name not in hints and "dropout" not in arguments[0]:
            value = getattr(first if hasattr(first, arguments[0]) else spec, arguments[0])
            assumed[name] = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
    if layout.forget_bias and layout.forget_bias not in hints:
        assumed[layout.forget_bias] = forget_of(layout, hints)
    if layout.form == "oi" and "ndim" not in hints:
        assumed["ndim"] = spec.ndim
    return assumed


def _ndim(value: Any) -> int:
    if value not in (1, 2, 3) or isinstance(value, bool):
        raise NoFitError(f"ndim expected 1, 2 or 3, got {value!r}")
    return int(value)


def groups_of(layout: Layout, hints: Mapping[str, Any]) -> int:
    """Return the number of groups of the original's convolutions."""
    groups = hints.get(layout.groups, 1) if layout.groups else 1
    if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
        raise NoFitError(f"{layout.groups} expected a positive integer, got {groups!r}")
    return groups


def forget_of(layout: Layout, hints: Mapping[str, Any]) -> float:
    """Return the factor of the constant that the original adds to the forget gate at run time."""
    value = hints.get(layout.forget_bias, 1.0) if layout.forget_bias else 1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NoFitError(f"{layout.forget_bias} expected a number, got {value!r}")
    return float(value)


def check_hints(layout: Layout, spec: NetworkSpec, bias: bool, hints: Mapping[str, Any], first: int = 0) -> None:
    """Raise NoFitError for a hint that is unknown to the layout or contradicts the arrays.

    ``bias`` says whether the arrays hold one.
    """
    unknown = sorted(set(hints) - set(layout.hints))
    if unknown:
        raise NoFitError(f"it takes no hint {', '.join(map(repr, unknown))}, only {', '.join(layout.hints)}")
    for name, value in hints.items():
        if name in layout.fixed and any(each != layout.fixed[name] for each in flat(value)):
            raise NoFitError(f"the original runs with {name}={layout.fixed[name]!r} only, got {value!r}")
        if name == "layer" and layout.separate and value != first:
            raise NoFitError(f"this is layer={first}, the hint says {value!r}")
        if name not in layout.sizes:
            continue
        actual = bias if layout.sizes[name] == "bias" else _actual(spec, layout.sizes[name])
        if not (_agrees(value, actual) if isinstance(actual, list) else value in (actual, [actual])):
            raise NoFitError(f"the arrays say {name}={actual}, the hint says {value!r}")


def _actual(spec: NetworkSpec, size: str) -> Any:
    """The size that the arrays imply: a list with one for each layer, or one for the network."""
    first = spec.layers[0]
    network: dict[str, Any] = {
        "in_channels": spec.in_channels,
        "joined_channels": spec.in_channels + first.hidden_channels,
        "num_layers": len(spec.layers),
        "bidirectional": spec.bidirectional is not None,
    }
    return network[size] if size in network else [getattr(layer, size) for layer in spec.layers]


def _agrees(value: Any, actual: Sequence[Any]) -> bool:
    """Whether a hint agrees with the arrays. A number stands for all dimensions.

    JSON and the command line have no tuples, so that a list may be for each layer or for each
    dimension.
    """
    readings = [[value] * len(actual)]
    if isinstance(value, list):
        readings = [value, [tuple(value)] * len(actual)]
    return any(_same(reading, actual) for reading in readings)


def _same(values: Sequence[Any], actual: Sequence[Any]) -> bool:
    if len(values) != len(actual):
        return False
    expanded = [
        [value] * len(size) if isinstance(size, tuple) and not isinstance(value, (tuple, list)) else flat(value)
        for value, size in zip(values, actual, strict=True)
    ]
    return expanded == [flat(size) for size in actual]


def flat(value: Any) -> list[Any]:
    """Return a number, or several, as a list."""
    return list(value) if isinstance(value, (tuple, list)) else [value]
