"""Recognise a foreign layout by the names and shapes of the arrays, and derive the spec that they imply."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convgru.importers.layout import Layout, Piece
from convgru.spec import NetworkSpec, network

Shape = tuple[int, ...]


class NoFitError(Exception):
    """Why a layout does not fit; caught by ``adopt``, which tells all reasons together."""


@dataclass(frozen=True)
class Match:
    """A layout that fits: the spec it implies, and where its arrays stand."""

    layout: Layout
    prefix: str
    spec: NetworkSpec

    def pieces(self) -> Iterator[tuple[int, str, Piece]]:
        """Layer, name of the foreign array, and piece; biases only if the network has them."""
        for layer in range(len(self.spec.layers)):
            for piece in pieces_of(self.layout, self.spec.layers[0].bias):
                yield layer, self.prefix + piece.key.format(layer=layer), piece


def pieces_of(layout: Layout, bias: bool) -> list[Piece]:
    """The pieces of one layer, those of biases left out where there are none."""
    return [piece for piece in layout.pieces if bias or piece.target.startswith("weight")]


def match(layout: Layout, shapes: Mapping[str, Shape], hints: Mapping[str, Any]) -> Match:
    """The match of a layout with arrays of these names and shapes. Raises NoFitError, which says what does not fit."""
    for pattern, sentence in layout.refused.items():
        for name in shapes:
            if re.search(rf"(^|\.){pattern}$", name):
                raise NoFitError(f"{name!r} says that {sentence}")
    found = _parts(layout, shapes)
    if not found:
        raise NoFitError(f"no array is called like {layout.pieces[0].key.format(layer=0)!r}")
    if len(found) > 1:
        raise NoFitError(f"there are several networks, choose one by prefix=: {', '.join(map(repr, sorted(found)))}")
    prefix, layers = next(iter(found.items()))
    bias = any(not piece.target.startswith("weight") for keys in layers.values() for piece in keys)
    spec = _derive(layout, prefix, len(layers), bias, shapes, hints)
    result = Match(layout, prefix, spec)
    _check_names_and_shapes(result, shapes)
    _check_hints(result, hints)
    return result


def _parts(layout: Layout, names: Mapping[str, Shape]) -> dict[str, dict[int, list[Piece]]]:
    """Prefix -> layer -> the pieces found there."""
    found: dict[str, dict[int, list[Piece]]] = {}
    for name in names:
        for piece in layout.pieces:
            hit = piece.pattern.fullmatch(name)
            if hit:
                found.setdefault(hit["prefix"], {}).setdefault(int(hit["layer"]), []).append(piece)
    return found


def _derive(
    layout: Layout, prefix: str, layers: int, bias: bool, shapes: Mapping[str, Shape], hints: Mapping[str, Any]
) -> NetworkSpec:
    """The spec that the recurrent weights, and the first input weights, imply; all else is then compared with it."""
    recurrent = next(piece for piece in layout.pieces if piece.target == "weight_hh")
    inputs = next(piece for piece in layout.pieces if piece.target == "weight_ih")
    hidden: list[int] = []
    kernels: list[Any] = []
    for layer in range(layers):
        shape = _shape(shapes, prefix + recurrent.key.format(layer=layer))
        if len(shape) - 2 not in layout.ndims or min(shape) < 1:
            raise NoFitError(f"{prefix + recurrent.key.format(layer=layer)!r} has shape {shape}")
        hidden.append(max(shape[0] // recurrent.gates, 1))
        kernels.append(shape[2:])
    columns = _shape(shapes, prefix + inputs.key.format(layer=0))[1]
    channels = columns - hidden[0] if inputs.columns else columns
    options = {layout.choices[name]: value for name, value in hints.items() if name in layout.choices}
    try:
        return network(
            layout.cell, channels, hidden, kernels, ndim=len(kernels[0]), bias=bias, **{**layout.options, **options}
        )
    except (TypeError, ValueError) as error:
        raise NoFitError(str(error)) from None


def _shape(shapes: Mapping[str, Shape], name: str) -> Shape:
    if name not in shapes:
        raise NoFitError(f"{name!r} is missing")
    if len(shapes[name]) < 2:
        raise NoFitError(f"{name!r} has shape {shapes[name]}")
    return shapes[name]


def foreign_shapes(result: Match) -> dict[str, Shape]:
    """The shape of every foreign array that the spec implies."""
    expected: dict[str, Shape] = {}
    for layer, name, piece in result.pieces():
        cell = result.spec.layers[layer]
        rows = piece.gates * cell.hidden_channels
        if not piece.target.startswith("weight"):
            expected[name] = (rows,)
            continue
        own = cell.in_channels if piece.target == "weight_ih" else cell.hidden_channels
        columns = cell.in_channels + cell.hidden_channels if piece.columns else own
        expected[name] = (rows, columns, *cell.recurrent_kernel_size)
    return expected


def _check_names_and_shapes(result: Match, shapes: Mapping[str, Shape]) -> None:
    expected = foreign_shapes(result)
    for name, shape in expected.items():
        if name not in shapes:
            raise NoFitError(f"{name!r} is missing")
        if shapes[name] != shape:
            raise NoFitError(f"{name!r} expected shape {shape}, got {shapes[name]}")
    strange = sorted(name for name in shapes if name.startswith(result.prefix) and name not in expected)
    if strange:
        raise NoFitError(f"it has no place for {_some(strange)}")
    if result.layout.odd_kernels:
        for index, layer in enumerate(result.spec.layers):
            if not all(k % 2 for k in layer.kernel_size):
                raise NoFitError(
                    f"layer {index} has the even kernel {layer.kernel_size}, with which the original cannot run"
                )


def _check_hints(result: Match, hints: Mapping[str, Any]) -> None:
    layout, layers = result.layout, result.spec.layers
    unknown = sorted(set(hints) - set(layout.hints))
    if unknown:
        raise NoFitError(f"it takes no hint {_some(unknown)}, only {', '.join(layout.hints)}")
    for name, value in hints.items():
        if name in layout.fixed and set(_flat(value)) != {layout.fixed[name]}:
            raise NoFitError(f"this version of convgru reads it with {name}={layout.fixed[name]!r} only, got {value!r}")
        size = layout.sizes.get(name)
        if size in ("in_channels", "num_layers"):
            actual: Any = layers[0].in_channels if size == "in_channels" else len(layers)
            if value != actual:
                raise NoFitError(f"the arrays say {name}={actual}, the hint says {value!r}")
        elif size is not None:
            actual = [getattr(layer, size) for layer in layers]
            if not _agrees(value, actual):
                raise NoFitError(f"the arrays say {name}={actual}, the hint says {value!r}")


def _agrees(value: Any, actual: Sequence[Any]) -> bool:
    """Whether a size, or a list with one for each layer, is what the arrays say; a number stands for all dimensions."""
    values = value if isinstance(value, list) else [value] * len(actual)
    if len(values) != len(actual):
        return False
    spread = [
        [own] * len(size) if isinstance(size, tuple) and not isinstance(own, (tuple, list)) else _flat(own)
        for own, size in zip(values, actual, strict=True)
    ]
    return spread == [_flat(size) for size in actual]


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
