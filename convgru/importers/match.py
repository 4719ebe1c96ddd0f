"""Recognise a foreign layout by the names and shapes of the arrays, and derive the spec that they imply."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convgru.importers.hints import NoFitError, check_hints, groups_of, options_of
from convgru.importers.layout import Layout, Piece, pattern
from convgru.shapes import cell_parameter_shapes, layer_prefix
from convgru.spec import CellSpec, NetworkSpec, network

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """One piece of one layer and direction: the foreign array ``name``, and the canonical parameter ``target``."""

    name: str
    target: str
    norm: str
    spectral: tuple[str, str] | None
    cell: CellSpec
    piece: Piece

    @property
    def columns(self) -> slice | None:
        """Which input channels of the array belong to the parameter; None means all."""
        if not self.piece.columns:
            return None
        sizes = {"x": self.cell.in_channels, "h": self.cell.hidden_channels}
        before = sizes[self.piece.order[0]] if self.piece.columns == self.piece.order[1] else 0
        return slice(before, before + sizes[self.piece.columns])


@dataclass(frozen=True)
class Match:
    """A layout that fits: the spec it implies, which of its pieces there are, and where they stand."""

    layout: Layout
    prefix: str
    spec: NetworkSpec
    pieces: tuple[Piece, ...]
    groups: int = 1
    forget_bias: float = 0.0

    @classmethod
    def of(cls, layout: Layout, spec: NetworkSpec, groups: int | None = None, prefix: str = "") -> Match:
        """The match of a spec that is known: with biases or without as the spec says, without arrays that may be missing.

        ``groups`` are the original's, where its convolutions cut across the gates.
        """
        bias = spec.layers[0].bias
        pieces = tuple(piece for piece in layout.pieces if not piece.optional and (bias or not piece.is_bias))
        return cls(
            layout, prefix, spec, pieces, spec.layers[0].groups if groups is None else groups, layout.forget_bias
        )

    def places(self) -> Iterator[Place]:
        """Every piece of every layer and direction."""
        for layer, cell in enumerate(self.spec.layers):
            for direction, word in zip(self.spec.directions, self.layout.directions, strict=False):
                for piece in self.pieces:
                    keys = (piece.key, piece.norm, *piece.spectral)
                    name, norm, *spectral = (key and self.prefix + key.format(layer=layer, dir=word) for key in keys)
                    target = layer_prefix(layer, direction) + piece.target
                    yield Place(name, target, norm, (spectral[0], spectral[1]) if spectral else None, cell, piece)


def match(layout: Layout, shapes: Mapping[str, Shape], hints: Mapping[str, Any]) -> Match:
    """The match of a layout with arrays of these names and shapes. Raises NoFitError, which says what does not fit."""
    found = _parts(layout, shapes)
    if not found:
        raise NoFitError(f"no array is called like {layout.example!r}")
    if len(found) > 1:
        raise NoFitError(f"there are several networks, choose one by prefix=: {', '.join(map(repr, sorted(found)))}")
    prefix, parts = next(iter(found.items()))
    there = {piece for pieces in parts.values() for piece in pieces}
    bias = any(piece.is_bias for piece in there)
    pieces = tuple(p for p in layout.pieces if (bias or not p.is_bias) and (p in there or not p.optional))
    both = any(direction for _, direction in parts)
    layers = len({layer for layer, _ in parts})
    groups = groups_of(layout, hints)
    spec = _derive(layout, prefix, layers, shapes, groups, {"bias": bias, **options_of(layout, hints, both)})
    result = Match(layout, prefix, spec, pieces, groups)
    _check_names_and_shapes(result, shapes)
    check_hints(layout, spec, hints)
    return result


def _parts(layout: Layout, names: Mapping[str, Shape]) -> dict[str, dict[tuple[int, int], list[Piece]]]:
    """Prefix -> (layer, direction) -> the pieces found there."""
    found: dict[str, dict[tuple[int, int], list[Piece]]] = {}
    for name in names:
        for piece in layout.pieces:
            hit = pattern(piece.key, layout.directions).fullmatch(name)
            if hit:
                groups = hit.groupdict()
                direction = layout.directions.index(groups.get("dir") or layout.directions[0])
                where = int(groups.get("layer") or 0), direction
                found.setdefault(hit["prefix"], {}).setdefault(where, []).append(piece)
    return found


def _derive(
    layout: Layout, prefix: str, layers: int, shapes: Mapping[str, Shape], groups: int, options: Mapping[str, Any]
) -> NetworkSpec:
    """The spec that the recurrent weights, and the first input weights, imply; all else is then compared with it."""
    recurrent = next(piece for piece in layout.pieces if piece.target == "weight_hh")
    inputs = next(piece for piece in layout.pieces if piece.target == "weight_ih")
    word = layout.directions[0]
    hidden: list[int] = []
    kernels: list[Any] = []
    for layer in range(layers):
        name = prefix + recurrent.key.format(layer=layer, dir=word)
        shape = _shape(shapes, name)
        if len(shape) - 2 not in layout.ndims or min(shape) < 1:
            raise NoFitError(f"{name!r} has shape {shape}")
        hidden.append(max(shape[0] // recurrent.gates, 1))
        kernels.append(shape[2:])
    columns = _shape(shapes, prefix + inputs.key.format(layer=0, dir=word))[1]
    channels = columns - hidden[0] if inputs.columns else columns * groups
    own = groups if recurrent.gates == 1 else 1  # groups that cut across gates become dense weights
    try:
        return network(layout.cell, channels, hidden, kernels, ndim=len(kernels[0]), groups=own, **options)
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
    for place in result.places():
        cell, piece = place.cell, place.piece
        rows = piece.gates * cell.hidden_channels
        norm = (f"{place.norm}.weight", f"{place.norm}.running_var") if place.norm else ()
        expected.update(dict.fromkeys((place.name, *norm), (rows,)))
        tail = cell_parameter_shapes(cell)[piece.target][1:]
        if piece.columns:
            expected[place.name] = (rows, cell.in_channels + cell.hidden_channels, *tail[1:])
        elif tail:
            expected[place.name] = (rows, tail[0] * cell.groups // result.groups, *tail[1:])
    return expected


def _check_names_and_shapes(result: Match, shapes: Mapping[str, Shape]) -> None:
    expected = foreign_shapes(result)
    for name, shape in expected.items():
        if name not in shapes:
            raise NoFitError(f"{name!r} is missing")
        if shapes[name] != shape:
            raise NoFitError(f"{name!r} expected shape {shape}, got {shapes[name]}")
    within = (name for name in shapes if name.startswith(result.prefix) and name not in expected)
    strange = sorted(name for name in within if not _is_stray(result.layout, name.removeprefix(result.prefix)))
    if strange:
        raise NoFitError(f"it has no place for {some(strange)}")
    if result.layout.odd_kernels:
        for index, layer in enumerate(result.spec.layers):
            if not all(k % 2 for k in layer.kernel_size):
                raise NoFitError(
                    f"layer {index} has the even kernel {layer.kernel_size}, with which the original cannot run"
                )


def _is_stray(layout: Layout, name: str) -> bool:
    return any(re.fullmatch(stray, name) for stray in layout.strays)


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    shown = ", ".join(repr(name[:80]) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
