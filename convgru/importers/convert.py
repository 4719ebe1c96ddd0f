"""Move numbers between a foreign layout and the canonical arrays: slices and signs exactly, sums rounded once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from convgru.importers.layout import Layout, Piece
from convgru.importers.match import Match, foreign_shapes, pieces_of
from convgru.shapes import layer_prefix, parameter_shapes
from convgru.spec import GATES, CellSpec, NetworkSpec, network
from convgru.weights import Weights, WeightsError


def to_canonical(found: Match, arrays: Mapping[str, np.ndarray]) -> Weights:
    """The weights in foreign arrays. Raises WeightsError for numbers that are not finite, or not of one dtype."""
    parts: dict[str, list[np.ndarray]] = {}
    for layer, name, piece in found.pieces():
        cell = found.spec.layers[layer]
        for gate in piece.rows:
            block = arrays[name][_block(piece, gate, cell)]
            target = f"{layer_prefix(layer)}{piece.target}"
            parts.setdefault(f"{target}/{gate}", []).append(-block if gate in piece.negative else block)
    canonical = {
        name: np.concatenate([_sum(parts[f"{name}/{gate}"]) for gate in _gates(found.spec, name)])
        for name in parameter_shapes(found.spec)
    }
    return Weights(found.spec, canonical)


def to_foreign(weights: Weights, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a foreign checkpoint: what ``adopt`` turns back into these weights, byte for byte.

    Raises WeightsError if the original has no such network.
    """
    found = Match(layout, "", _expressible(weights, layout))
    # -0.0 and not 0.0 is what may be added to any number, -0.0 included, without changing a bit.
    foreign = {name: np.full(shape, -0.0, weights.dtype) for name, shape in foreign_shapes(found).items()}
    placed: set[tuple[int, str, str]] = set()
    for layer, name, piece in found.pieces():
        cell = found.spec.layers[layer]
        target = f"{layer_prefix(layer)}{piece.target}"
        order = _gates(found.spec, target)
        for gate in piece.rows:
            if (layer, piece.target, gate) in placed:
                continue  # a sum stands where its first term does
            placed.add((layer, piece.target, gate))
            start = order.index(gate) * cell.hidden_channels
            rows = weights.arrays[target][start : start + cell.hidden_channels]
            foreign[name][_block(piece, gate, cell)] = -rows if gate in piece.negative else rows
    return foreign


def _block(piece: Piece, gate: str, cell: CellSpec) -> tuple[slice, ...]:
    """Where one gate of a piece stands in its foreign array."""
    start = (piece.first + piece.rows.index(gate)) * cell.hidden_channels
    rows = slice(start, start + cell.hidden_channels)
    if not piece.columns:
        return (rows,)
    return rows, slice(0, cell.in_channels) if piece.columns == "x" else slice(cell.in_channels, None)


def _gates(spec: NetworkSpec, name: str) -> str:
    """The gates whose rows a canonical array holds, in order."""
    return "n" if name.endswith("bias_hn") else GATES[spec.cell]


def _sum(terms: list[np.ndarray]) -> np.ndarray:
    if len(terms) == 1:
        return terms[0]
    total = terms[0].astype(np.float64)
    for term in terms[1:]:
        total = total + term.astype(np.float64)
    return total.astype(terms[0].dtype)


def _expressible(weights: Weights, layout: Layout) -> NetworkSpec:
    """The weights' spec if the layout has room for it. Raises WeightsError if not."""
    spec = weights.spec
    if not isinstance(spec, NetworkSpec) or spec.cell != layout.cell:
        raise WeightsError(f"{layout.title} has no {spec.title}, in the layout {layout.name!r}")
    first = spec.layers[0]
    options = {**layout.options, **{name: getattr(first, name) for name in layout.choices.values()}}
    hidden = [layer.hidden_channels for layer in spec.layers]
    kernels = [layer.recurrent_kernel_size for layer in spec.layers]
    nearest = network(spec.cell, spec.in_channels, hidden, list(kernels), ndim=spec.ndim, bias=first.bias, **options)
    odd = all(k % 2 for kernel in kernels for k in kernel)
    if nearest != spec or spec.ndim not in layout.ndims or (layout.odd_kernels and not odd):
        raise WeightsError(f"{layout.title} has no such network: {spec}")
    wanted = {layer_prefix(0) + piece.target for piece in pieces_of(layout, first.bias)}
    missing = sorted(name for name in parameter_shapes(NetworkSpec(spec.layers[:1])) if name not in wanted)
    if missing:
        raise WeightsError(f"{layout.title} has no place for {', '.join(missing)}")
    return spec
