"""Loops over time, layers and directions, time-major; modules and pure functions use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convgru import equations
from convgru.spec import NetworkSpec
from convgru.spec.shapes import cell_parameter_shapes, dropout_mask, layer_prefix
from convgru_torch import ops, parts, streams
from convgru_torch.execution import AUTOMATIC, Execution
from convgru_torch.export import check_time_is_fixed
from convgru_torch.implementations import run_layer
from convgru_torch.masks import Masks
from convgru_torch.readable import ends
from convgru_torch.winograd import check_algorithm

LayerCall = Callable[..., tuple[Tensor, Any]]
"""One layer in one direction over a sequence: a ``convgru_torch.layers.Layer``, or ``run_layer``
with its first arguments filled in.
"""


def functional_layers(
    spec: NetworkSpec, arrays: Mapping[str, Tensor], prefix: str = "", execution: Execution = AUTOMATIC
) -> list[list[LayerCall]]:
    """Make each layer, in all its directions, from canonical ``arrays`` under ``prefix``.

    Raises UnsupportedError for an algorithm that computes nothing of the network.
    """
    check_algorithm(spec.title, spec, execution.algorithm)

    def layer(index: int, direction: str) -> LayerCall:
        cell, start = spec.layers[index], prefix + layer_prefix(index, direction)
        parameters = {name: arrays[start + name] for name in cell_parameter_shapes(cell)}
        options: dict[str, Any] = {"reverse": direction == "bwd", "zoneout": spec.zoneout, "execution": execution}
        return partial(run_layer, cell, parameters, **options)

    return [[layer(index, direction) for direction in spec.directions] for index in range(len(spec.layers))]


def run_network(
    spec: NetworkSpec,
    layers: Sequence[Sequence[LayerCall]],
    x: Tensor,
    state: Sequence[Any],
    *,
    valid: Tensor | None = None,
    context: Sequence[Tensor] | None = None,
    masks: Masks | None = None,
    all_layers: bool = False,
    last_only: bool = False,
    checkpoint_frames: int | None = None,
) -> tuple[list[Tensor], list[Any]]:
    """Run the layers over x (T, B, C, *S); return the outputs and the final state.

    The outputs are those of the last layer, or of all layers.

    Outputs are sequences, or with ``last_only`` each sample's last valid frame. ``valid`` (T, B, 1,
    …) says which frames are no padding; ``context`` holds a tensor for each entry of the state.
    ``checkpoint_frames`` makes parts of so many frames, each through all layers, or in two
    directions layer by layer.
    """
    check_time_is_fixed(spec.title, x)
    if spec.output_size is not None:
        pooled = ops.pool(x.flatten(0, 1), spec.output_size)
        x = pooled.reshape(x.shape[:2] + pooled.shape[1:])
    if valid is not None:
        x = torch.where(valid, x, 0)
    tensors: dict[str, Any] = {"valid": valid, "context": context, "masks": masks or {}}
    run = partial(_run_layers, spec, all_layers=all_layers, last_only=last_only)
    if checkpoint_frames is None or not parts.needed(checkpoint_frames, x):
        return run(streams.beside(layers, x), x, state, **tensors)
    if spec.bidirectional is None:
        return parts.run(partial(run, layers), checkpoint_frames, x, state, last_only=last_only, **tensors)
    each = [
        [parts.layer_in_parts(layer, checkpoint_frames, bool(d)) for d, layer in enumerate(directions)]
        for directions in layers
    ]
    return run(streams.beside(each, x), x, state, **tensors)


def _run_layers(
    spec: NetworkSpec,
    layers: Sequence[Sequence[LayerCall]],
    x: Tensor,
    state: Sequence[Any],
    *,
    valid: Tensor | None,
    context: Sequence[Tensor] | None,
    masks: Masks,
    all_layers: bool,
    last_only: bool,
) -> tuple[list[Tensor], list[Any]]:
    """Run the layers over a whole sequence, as ``run_network`` does."""
    sequences = [x] * len(spec.directions)
    outputs: list[Tensor] = []
    final: list[Any] = []
    for index, directions in enumerate(layers):
        top = index == len(layers) - 1
        last = last_only and top
        for d, layer in enumerate(directions):
            entry = len(final)
            options = _masks_of(spec, entry, masks)
            h = state[entry][0] if isinstance(state[entry], (tuple, list)) else state[entry]
            expected = h.shape if last else (*x.shape[:1], *h.shape)
            sequences[d], new = layer(
                sequences[d],
                state[entry],
                valid=valid,
                context=None if context is None else context[entry],
                last_only=last,
                **options,
            )
            _check_output(spec, index, spec.directions[d], sequences[d], expected)
            final.append(tuple(new) if isinstance(new, list) else new)
        if spec.bidirectional == "layer":
            sequences = [_merged(spec, sequences, last)]
        if all_layers or top:
            output = sequences[0] if len(sequences) == 1 else _merged(spec, sequences, last)
            outputs.append(_last_of(output, valid) if last_only and not top else output)
        if not top:
            sequences = _dropped(spec, index, sequences, masks)
    return [y.contiguous() for y in outputs], [_contiguous(entry) for entry in final]


def _contiguous(entry: Any) -> Any:
    """A state as users have it: its numbers in the order of its axes, whatever ran."""
    return tuple(part.contiguous() for part in entry) if isinstance(entry, tuple) else entry.contiguous()


def _check_output(spec: NetworkSpec, index: int, direction: str, y: Any, expected: Sequence[int]) -> None:
    """Raise ValueError for a layer's output of another shape, which a hook may have returned."""
    shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
    if shape != tuple(expected):
        name = f"{spec.title} {layer_prefix(index, direction)[:-1]}"
        raise ValueError(
            f"{name} expected an output of shape {tuple(expected)} of the layer and its hooks, got {shape}"
        )


def _masks_of(spec: NetworkSpec, entry: int, masks: Masks) -> dict[str, Any]:
    """Select the masks of one layer and direction: the keyword arguments of its call."""
    names = [f"zoneout.{entry}.{part}" for part in spec.layers[0].state_names]
    zoneout = tuple(masks[name] for name in names) if names[0] in masks else None
    return {"recurrent_mask": masks.get(f"recurrent.{entry}"), "zoneout_masks": zoneout}


def _merged(spec: NetworkSpec, outputs: Sequence[Tensor], last: bool) -> Tensor:
    """Merge the outputs of two directions: sequences, or last frames."""
    forward, backward = outputs
    if last:
        frames: Tensor = equations.merge(ops, spec.merge, forward, backward)
        return frames
    merged: Tensor = equations.merge(ops, spec.merge, forward.flatten(0, 1), backward.flatten(0, 1))
    return merged.reshape(forward.shape[:2] + merged.shape[1:])


def _dropped(spec: NetworkSpec, index: int, outputs: Sequence[Tensor], masks: Masks) -> list[Tensor]:
    """Apply dropout between layers; return what the next layer reads, in each direction."""
    if spec.bidirectional == "stack":
        names = [dropout_mask(spec, index, direction) for direction in spec.directions]
        return [y * masks[name] if name in masks else y for name, y in zip(names, outputs, strict=True)]
    name, y = dropout_mask(spec, index, spec.directions[0]), outputs[0]
    return [y * masks[name] if name in masks else y] * len(spec.directions)


def _last_of(y: Tensor, valid: Tensor | None) -> Tensor:
    """Each sample's last valid frame of a sequence; zeros where there is none."""
    return y[-1] if valid is None else torch.where(ends(valid), y, 0).sum(0)
