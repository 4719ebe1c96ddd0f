"""Move numbers between a foreign layout and the canonical arrays: slices and signs exactly, sums and folds rounded once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from convgru.importers.hints import flat
from convgru.importers.layout import Layout, Piece
from convgru.importers.match import Match, Place, foreign_shapes
from convgru.shapes import parameter_shapes
from convgru.spec import GATES, NetworkSpec, network
from convgru.weights import Weights, WeightsError

BATCH_NORM_EPS = 1e-5
"""PyTorch's default, which no file holds and no original changes."""


def to_canonical(found: Match, arrays: Mapping[str, np.ndarray]) -> Weights:
    """The weights in foreign arrays. Raises WeightsError for numbers that are not finite, or not of one dtype."""
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for place in found.places():
        array = arrays[place.name]
        if array.ndim > 1 and found.groups != place.cell.groups:
            array = dense(array, found.groups)
        for gate in place.piece.rows:
            block = array[_block(place, gate)]
            if place.norm:
                block = block.astype(np.float64) * _scale(place, gate, arrays, block.ndim)
            parts.setdefault((place.target, gate), []).append(-block if gate in place.piece.negative else block)
    dtype = next(iter(arrays.values())).dtype
    canonical = {
        name: np.concatenate([_sum(parts[name, gate], dtype) for gate in _gates(found.spec, name)])
        for name in parameter_shapes(found.spec)
    }
    return Weights(found.spec, canonical)


def to_foreign(weights: Weights, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a foreign checkpoint: what ``adopt`` turns back into these weights, byte for byte.

    Raises WeightsError if the original has no such network.
    """
    found = _expressible(weights, layout)
    # -0.0 and not 0.0 is what may be added to any number, -0.0 included, without changing a bit.
    foreign = {name: np.full(shape, -0.0, weights.dtype) for name, shape in foreign_shapes(found).items()}
    placed: set[tuple[str, str]] = set()
    for place in found.places():
        order = _gates(found.spec, place.target)
        for gate in place.piece.rows:
            if (place.target, gate) in placed:
                continue  # a sum stands where its first term does
            placed.add((place.target, gate))
            start = order.index(gate) * place.cell.hidden_channels
            rows = weights.arrays[place.target][start : start + place.cell.hidden_channels]
            foreign[place.name][_block(place, gate)] = -rows if gate in place.piece.negative else rows
    return foreign


def dense(array: np.ndarray, groups: int) -> np.ndarray:
    """The weights of a grouped convolution, (rows, in / groups, *k), as those of one without groups: zeros fill the rest."""
    rows, columns = array.shape[0] // groups, array.shape[1]
    whole = np.zeros((array.shape[0], columns * groups, *array.shape[2:]), array.dtype)
    for group in range(groups):
        own = slice(group * rows, (group + 1) * rows)
        whole[own, group * columns : (group + 1) * columns] = array[own]
    return whole


def _block(place: Place, gate: str) -> tuple[slice, ...]:
    """Where one gate of a piece stands in its foreign array."""
    piece, cell = place.piece, place.cell
    start = (piece.first + piece.rows.index(gate)) * cell.hidden_channels
    rows = slice(start, start + cell.hidden_channels)
    if not piece.columns:
        return (rows,)
    return rows, slice(0, cell.in_channels) if piece.columns == "x" else slice(cell.in_channels, None)


def _scale(place: Place, gate: str, arrays: Mapping[str, np.ndarray], ndim: int) -> np.ndarray:
    """The factor γ/√(var + ε) of a batch norm in inference, for the rows of one gate, in float64."""
    rows = _block(place, gate)[0]
    gamma, variance = (arrays[f"{place.norm}.{part}"][rows].astype(np.float64) for part in ("weight", "running_var"))
    return np.asarray(gamma / np.sqrt(variance + BATCH_NORM_EPS)).reshape(-1, *(1,) * (ndim - 1))


def _gates(spec: NetworkSpec, name: str) -> str:
    """The gates whose rows a canonical array holds, in order."""
    part = name.rpartition(".")[2]
    if part == "bias_hn":
        return "n"
    return part[-1] if part.startswith("peephole_") else GATES[spec.cell]


def _sum(terms: list[np.ndarray], dtype: np.dtype[Any]) -> np.ndarray:
    if len(terms) == 1:
        return terms[0].astype(dtype)
    total = terms[0].astype(np.float64)
    for term in terms[1:]:
        total = total + term.astype(np.float64)
    return total.astype(dtype)


def _expressible(weights: Weights, layout: Layout) -> Match:
    """The weights' place in the layout if it has room for them. Raises WeightsError if not."""
    spec = weights.spec
    if not isinstance(spec, NetworkSpec) or spec.cell != layout.cell:
        raise WeightsError(f"{layout.title} has no {spec.title}, in the layout {layout.name!r}")
    if any(piece.norm for piece in layout.pieces):
        raise WeightsError(
            f"{layout.title} has no {spec.title} without batch norm, which adopt folds into the weights and export cannot unfold"
        )
    found = Match(layout, "", spec, _pieces(layout, spec), spec.layers[0].groups)
    odd = all(k % 2 for layer in spec.layers for k in layer.recurrent_kernel_size)
    if _nearest(layout, spec) != spec or spec.ndim not in layout.ndims or (layout.odd_kernels and not odd):
        raise WeightsError(f"{layout.title} has no such network: {spec}")
    wanted = {place.target for place in found.places()}
    missing = sorted(name for name in parameter_shapes(spec) if name not in wanted)
    if missing:
        raise WeightsError(f"{layout.title} has no place for {', '.join(missing)}")
    return found


def _pieces(layout: Layout, spec: NetworkSpec) -> tuple[Piece, ...]:
    return tuple(p for p in layout.pieces if not p.optional and (spec.layers[0].bias or not p.is_bias))


def _nearest(layout: Layout, spec: NetworkSpec) -> NetworkSpec:
    """The network that the layout would give back if it held one of these sizes."""
    first = spec.layers[0]
    options: dict[str, Any] = dict(layout.options)
    for name in (argument for arguments in layout.choices.values() for argument in arguments):
        options[name] = getattr(first if hasattr(first, name) else spec, name)
    if set(flat(options.get("stride", 1))) != {1}:
        options["padding"] = layout.padding
    if layout.groups and first.gates == 1:
        options["groups"] = first.groups
    both = spec.bidirectional is not None and len(layout.directions) == 2
    hidden = [layer.hidden_channels for layer in spec.layers]
    kernels = [layer.recurrent_kernel_size for layer in spec.layers]
    bidirectional = layout.bidirectional if both else None
    return network(
        spec.cell,
        spec.in_channels,
        hidden,
        list(kernels),
        ndim=spec.ndim,
        bias=first.bias,
        bidirectional=bidirectional,
        **options,
    )
