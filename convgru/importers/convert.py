"""Move numbers between a foreign layout and the canonical arrays: slices and signs exactly, sums and folds rounded once."""

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


def to_canonical(found: Match, arrays: Mapping[str, np.ndarray]) -> Weights:
    """The weights in foreign arrays. Raises WeightsError for numbers that are not finite."""
    with np.errstate(all="ignore"):  # what comes of absurd numbers is not finite, and refused as such
        made = canonical(plan(found), arrays)
    return Weights(found.spec, {name: np.array(array, order="C") for name, array in made.items()})


def to_foreign(weights: Weights, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a foreign checkpoint: what ``adopt`` turns back into these weights, byte for byte.

    Where the original adds to a gate at run time, that is subtracted, and rounded once. Raises WeightsError if the original has no
    such network.
    """
    found = place_in(weights.spec, layout)
    # -0.0 and not 0.0 is what may be added to any number, -0.0 included, without changing a bit.
    foreign = {name: np.full(shape, -0.0, weights.dtype) for name, shape in foreign_shapes(found).items()}
    for name, blocks in plan(found).items():
        start = 0
        for block in blocks:
            rows = weights.arrays[name][start : start + block.shape[0]]
            start += block.shape[0]
            constant = sum(term.constant for term in block.terms if not term.name)
            first = next(term for term in block.terms if term.name)  # a sum stands where its first term does
            if constant:
                rows = (rows.astype(np.float64) - constant).astype(weights.dtype)
            _slot(foreign, first)[...] = (-rows if first.negative else rows).reshape(_slot(foreign, first).shape)
    return foreign


def _slot(foreign: Mapping[str, np.ndarray], term: Term) -> np.ndarray:
    """Where a term stands in its foreign array, the axes in our order: a view."""
    array = foreign[term.name]
    if term.form == "kio":
        array = array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
    elif term.form == "1ok":
        array = array[0]
    array = array[term.rows]
    return array if term.columns is None else array[:, term.columns]


def place_in(spec: Any, layout: Layout) -> Match:
    """Where a network stands in a layout that has room for it. Raises WeightsError if it has none."""
    if not isinstance(spec, NetworkSpec) or spec.cell != layout.cell:
        raise WeightsError(f"{layout.title} has no {spec.title}")
    if not layout.can_export:
        raise WeightsError(
            f"{layout.title} has no {spec.title} without batch norm or spectral norm: adopt folds them, export cannot unfold them"
        )
    found = Match.of(layout, spec)
    odd = all(k % 2 for layer in spec.layers for k in layer.recurrent_kernel_size)
    if _nearest(layout, spec) != spec or spec.ndim not in layout.ndims or (layout.odd_kernels and not odd):
        raise WeightsError(f"{layout.title} has no such network: {spec}")
    wanted = {place.target for place in found.places()}
    missing = sorted(name for name in parameter_shapes(spec) if name not in wanted)
    if missing:
        raise WeightsError(f"{layout.title} has no place for {', '.join(missing)}")
    return found


def _nearest(layout: Layout, spec: NetworkSpec) -> NetworkSpec | None:
    """The network that the layout would give back if it held one of these sizes."""
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
    both = spec.bidirectional is not None and len(layout.directions) == 2
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
        bidirectional=layout.bidirectional if both else None,
        **options,
    )
