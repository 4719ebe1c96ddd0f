"""Write weights in a foreign layout: the plan of the import, executed the other way round."""

from __future__ import annotations

from typing import Any

import numpy as np

from convgru.importers.hints import flat
from convgru.importers.interpret import oriented
from convgru.importers.layout import Layout
from convgru.importers.match import Match, foreign_shapes
from convgru.importers.plan import plan
from convgru.shapes import parameter_shapes
from convgru.spec import NetworkSpec, network
from convgru.weights import Weights, WeightsError


def to_foreign(weights: Weights, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a foreign checkpoint: what ``adopt`` turns back into these weights, byte for byte.

    Raises WeightsError if the original has no such network.
    """
    found = _expressible(weights, layout)
    # -0.0 and not 0.0 is what may be added to any number, -0.0 included, without changing a bit.
    foreign = {name: np.full(shape, -0.0, weights.dtype) for name, shape in foreign_shapes(found).items()}
    for name, blocks in plan(found).items():
        for terms, rows in zip(blocks, np.split(weights.arrays[name], len(blocks)), strict=True):
            term = terms[0]  # a sum stands where its first term does
            view = oriented(foreign[term.name], term)
            view[term.rows if term.columns is None else (term.rows, term.columns)] = -rows if term.negative else rows
    return foreign


def _expressible(weights: Weights, layout: Layout) -> Match:
    """The weights' place in the layout if it has room for them. Raises WeightsError if not."""
    spec = weights.spec
    if not isinstance(spec, NetworkSpec) or spec.cell != layout.cell:
        raise WeightsError(f"{layout.title} has no {spec.title}, in the layout {layout.name!r}")
    if any(piece.norm for piece in layout.pieces):
        raise WeightsError(
            f"{layout.title} has no {spec.title} without batch norm, which adopt folds into the weights and export cannot unfold"
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
