"""Convert weights between a foreign layout and the canonical arrays.

Slices and signs are exact; sums and folded norms are rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from convgru.errors import WeightsError
from convgru.importers.execute import canonical
from convgru.importers.hints import NoFitError, flat
from convgru.importers.layout import Layout
from convgru.importers.match import Match, foreign_shapes, norm_of
from convgru.importers.plan import Term, plan
from convgru.spec import NetworkSpec, network
from convgru.spec.shapes import parameter_shapes
from convgru.weights import Weights


def to_canonical(match: Match, arrays: Mapping[str, np.ndarray]) -> Weights:
    """Convert foreign arrays to weights. Raises WeightsError for numbers that are not finite."""
    with np.errstate(all="ignore"):  # an overflow gives numbers that are not finite, which Weights refuses
        result = canonical(plan(match), arrays)
    return Weights(match.spec, {name: np.array(array, order="C") for name, array in result.items()})


def to_foreign(weights: Weights, layout: Layout) -> dict[str, np.ndarray]:
    """Convert weights to the arrays of a foreign checkpoint; ``adopt`` is the inverse.

    Where the original adds to a gate at run time, that is subtracted, and rounded once. Raises
    WeightsError if the original has no such network.
    """
    match = place_in(weights.spec, layout)
    # Adding -0.0, unlike 0.0, changes no bit of any number, -0.0 included.
    foreign = {name: np.full(shape, -0.0, weights.dtype) for name, shape in foreign_shapes(match).items()}
    for name, blocks in plan(match).items():
        start = 0
        for block in blocks:
            rows = weights.arrays[name][start : start + block.shape[0]]
            start += block.shape[0]
            constant = sum(term.constant for term in block.terms if not term.name)
            first = next(term for term in block.terms if term.name)  # the first term of a sum holds all of it
            if constant:
                rows = (rows.astype(np.float64) - constant).astype(weights.dtype)
            _slot(foreign, first)[...] = (-rows if first.negative else rows).reshape(_slot(foreign, first).shape)
    return foreign


def _slot(foreign: Mapping[str, np.ndarray], term: Term) -> np.ndarray:
    """The view of a foreign array that a term reads, its axes in canonical order."""
    array = foreign[term.name]
    if term.form == "kio":
        array = array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
    elif term.form == "1ok":
        array = array[0]
    array = array[term.rows]
    return array if term.columns is None else array[:, term.columns]


def place_in(spec: Any, layout: Layout) -> Match:
    """Return where a network is in a layout. Raises WeightsError if the layout cannot hold it."""
    if not isinstance(spec, NetworkSpec) or spec.cell != layout.cell:
        raise WeightsError(f"{layout.title} has no {spec.title}")
    if not layout.can_export:
        raise WeightsError(
            f"{layout.title} has no {spec.title} without batch norm or spectral norm: adopt folds them, export cannot unfold them"
        )
    match = Match.of(layout, spec)
    odd = all(k % 2 for layer in spec.layers for k in layer.recurrent_kernel_size)
    if _nearest(layout, spec) != spec or spec.ndim not in layout.ndims or (layout.odd_kernels and not odd):
        raise WeightsError(f"{layout.title} has no such network: {spec}")
    held = {place.target for place in match.places()}
    missing = sorted(name for name in parameter_shapes(spec) if name not in held)
    if missing:
        raise WeightsError(f"{layout.title} has no place for {', '.join(missing)}")
    return match


def _nearest(layout: Layout, spec: NetworkSpec) -> NetworkSpec | None:
    """The network that reading the layout would give for these sizes and options."""
    first = spec.layers[0]
    if layout.form == "oi" and any(set(layer.kernel_size) != {1} for layer in spec.layers):
        return None
    stacks = any("{layer" in piece.key for piece in layout.pieces) and not layout.separate
    if len(spec.layers) > 1 and not stacks:
        return None
    options: dict[str, Any] = dict(layout.options)
    for name in (argument for arguments in layout.choices.values() for argument in arguments):
        options[name] = getattr(first if hasattr(first, name) else spec, name)
    if layout.padding is not None and set(flat(options.get("stride", 1))) != {1}:
        options["padding"] = layout.padding
    if layout.groups and first.gates == 1:
        options["groups"] = first.groups
    if layout.peephole is not None and first.peephole == layout.peephole:
        options |= {"peephole": first.peephole, "state_size": first.state_size}
    try:
        options |= norm_of(layout, layout.pieces, [first.hidden_channels])
    except NoFitError:
        return None
    bidirectional = spec.bidirectional is not None and len(layout.directions) == 2
    joined = any(piece.columns for piece in layout.pieces)
    if first.updates and any(piece.target.startswith("updates.") for piece in layout.pieces):
        options["updates"] = first.updates
    else:
        options["kernel_size"] = [layer.kernel_size for layer in spec.layers]
        options["recurrent_kernel_size"] = None if joined else [layer.recurrent_kernel_size for layer in spec.layers]
    return network(
        spec.cell,
        spec.in_channels,
        [layer.hidden_channels for layer in spec.layers],
        ndim=spec.ndim,
        bias=first.bias or layout.has_constants,
        bidirectional=layout.bidirectional if bidirectional else None,
        **options,
    )
