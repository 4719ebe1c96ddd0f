"""The shapes that a spec implies: parameters, states, contexts, masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, cast

from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec, Spec
from convgru.spec.fields import is_size, positive

Shape = tuple[int, ...]


def layer_prefix(layer: int, direction: str = "fwd") -> str:
    """Beginning of the parameter names of one layer and direction: ``layers.0.fwd.``."""
    return f"layers.{layer}.{direction}."


def step_prefixes(cell: CellSpec) -> tuple[str, ...]:
    """Beginnings of the short names of ``cell.steps``: empty, or ``updates.0.`` and so on."""
    return tuple(f"updates.{index}." for index in range(len(cell.updates))) or ("",)


def cell_parameter_shapes(cell: CellSpec) -> dict[str, Shape]:
    """Shape of each parameter of one layer and direction, by its short name."""
    return {
        prefix + name: shape
        for prefix, step in zip(step_prefixes(cell), cell.steps, strict=True)
        for name, shape in _step_shapes(step).items()
    }


def _step_shapes(cell: CellSpec) -> dict[str, Shape]:
    rows, hidden = cell.gates * cell.hidden_channels, cell.hidden_channels
    shapes: dict[str, Shape] = {
        "weight_ih": (rows, cell.in_channels // cell.groups, *cell.kernel_size),
        "weight_hh": (rows, hidden // cell.groups, *cell.recurrent_kernel_size),
    }
    if cell.bias:
        shapes["bias"] = (rows,)
        if cell.reset == "after":
            shapes["bias_hn"] = (hidden,)
    if cell.peephole is not None:
        conv = (hidden // cell.groups, *cell.recurrent_kernel_size)
        pointwise = cell.state_size or (1,) * cell.ndim
        for gate in "ifo":
            shapes[f"peephole_{gate}"] = (hidden, *(conv if cell.peephole == "conv" else pointwise))
    if cell.norm is not None:
        shapes["norm_weight"] = shapes["norm_bias"] = (rows,)
    return shapes


def parameter_shapes(spec: Spec) -> dict[str, Shape]:
    """Shape of each parameter by canonical name, in the order of files and modules."""
    if isinstance(spec, ForecasterSpec):
        shapes = {f"encoder.{name}": shape for name, shape in parameter_shapes(spec.encoder).items()}
        if spec.decoder is not None:
            shapes |= {f"decoder.{name}": shape for name, shape in parameter_shapes(spec.decoder).items()}
        shapes["readout.weight"] = (spec.encoder.in_channels, spec.encoder.out_channels, *(1,) * spec.ndim)
        shapes["readout.bias"] = (spec.encoder.in_channels,)
        return shapes
    return {
        layer_prefix(index, direction) + name: shape
        for index, layer in enumerate(spec.layers)
        for direction in spec.directions
        for name, shape in cell_parameter_shapes(layer).items()
    }


def layer_sizes(spec: NetworkSpec, size: Sequence[int]) -> list[Shape]:
    """Spatial size of each layer's state for an input of spatial ``size``.

    Raises:
        ValueError: if a layer's output would be empty, if the image is too small for the padding
            mode, or if a peephole is tied to another size.
    """
    if len(size) != spec.ndim:
        raise ValueError(f"{spec.title} expected {spec.ndim} spatial sizes, got {len(size)}: {tuple(size)}")
    sizes: list[Shape] = []
    size = tuple(size) if spec.output_size is None else spec.output_size
    for index, layer in enumerate(spec.layers):
        owner = f"{spec.title} layer {index}"
        out = size
        for step in layer.steps:
            out = step.input_convolution.output_size(size)
            for dimension, (n, m) in enumerate(zip(size, out, strict=True)):
                if not _grows(step, dimension) and m < 1:
                    raise ValueError(
                        f"{owner} expected at least {n + 1 - m} pixels in spatial dimension {dimension} of its input "
                        f"(kernel {step.kernel_size}, dilation {step.dilation}, padding {step.padding!r}), got {n}"
                    )
            step.input_convolution.check_pads(owner, size)
            step.recurrent_convolution(1).check_pads(f"{owner} (state)", out)
        if layer.state_size is not None and tuple(out) != layer.state_size:
            raise ValueError(
                f"{owner} expected a state of spatial size {layer.state_size} (state_size, its peephole's), got {tuple(out)}"
            )
        size = out
        sizes.append(size)
    return sizes


def fitting_size(spec: Spec, pixels: int) -> Shape:
    """A spatial size that the network accepts, at least ``pixels`` per dimension where it is free.

    A peephole may tie it to one size. Of a forecaster, ``pixels`` counts patches. Raises ValueError
    if there is no such size.
    """
    networks: list[NetworkSpec] = [spec.recurrent]
    if isinstance(spec, ForecasterSpec) and spec.decoder is not None:
        networks.append(spec.decoder)
    patch = spec.patch if isinstance(spec, ForecasterSpec) else (1,) * spec.ndim
    tied = next((size for size in map(_tied_size, networks) if size is not None), None)
    sizes = [(n,) * spec.ndim for n in range(pixels, 64 * pixels)] if tied is None else [tied]
    for size in (each for each in sizes if min(each) > 0):
        try:
            for network in networks:
                layer_sizes(network, size)
        except ValueError:
            continue
        return tuple(n * p for n, p in zip(size, patch, strict=True))
    looked = f"up to {64 * pixels} pixels" if tied is None else f"{tied} pixels, to which a peephole ties it,"
    raise ValueError(f"{spec.title}: no image of {looked} fits its layers")


def _tied_size(network: NetworkSpec) -> Shape | None:
    """The size of the input that gives a peephole the state that it is tied to, if one is."""
    for index, layer in enumerate(network.layers):
        if layer.state_size is not None and network.output_size is None:
            size = layer.state_size
            for below in reversed(network.layers[: index + 1]):
                size = below.input_convolution.input_size(size)
            return size
    return None


def _grows(cell: CellSpec, dimension: int) -> bool:
    """Whether the output cannot be empty, so that the size may be unknown (symbolic)."""
    if isinstance(cell.padding, str):
        return cell.padding != "valid"
    return sum(cell.padding[dimension]) >= cell.dilation[dimension] * (cell.kernel_size[dimension] - 1)


def state_shapes(spec: Spec, batch: int, size: Sequence[int]) -> tuple[Any, ...]:
    """Shapes (B, H, *S) of the state for an input of spatial ``size``: h's, or a pair for (h, c).

    One entry for each layer and direction: layer by layer, forward before backward.
    """
    if isinstance(spec, ForecasterSpec):
        return state_shapes(spec.encoder, batch, patched_size(spec, size))
    entries: list[Any] = []
    for layer, pixels in zip(spec.layers, layer_sizes(spec, size), strict=True):
        shape = (batch, layer.hidden_channels, *pixels)
        entries += [(shape, shape) if len(layer.state_names) > 1 else shape] * len(spec.directions)
    return tuple(entries)


def zero_state_shapes(name: str, spec: Spec, batch: object, size: object) -> tuple[Any, ...]:
    """``state_shapes`` for ``zero_state`` of the network ``name``, whose arguments are checked.

    Raises ValueError for a batch that is no integer >= 0, and for a size that is not one that the
    network can read.
    """
    if not is_size(batch):
        raise ValueError(f"{name} zero_state expected a batch that is an integer >= 0, got {batch!r}")
    if not isinstance(size, Sequence) or isinstance(size, str) or len(size) != spec.ndim:
        raise ValueError(
            f"{name} zero_state expected a size of {spec.ndim} numbers (H, W … of the input), got {size!r}"
        )
    for number in size:
        positive(f"{name} zero_state size", number)
    return state_shapes(spec, cast("int", batch), tuple(size))


def context_shapes(spec: NetworkSpec, batch: int, size: Sequence[int]) -> tuple[Shape, ...]:
    """Shapes (B, G·H, *S) of a context without time, one for each layer and direction."""
    return tuple(
        (batch, layer.gates * layer.hidden_channels, *pixels)
        for layer, pixels in zip(spec.layers, layer_sizes(spec, size), strict=True)
        for _ in spec.directions
    )


def mask_shapes(spec: NetworkSpec, time: int, batch: int, size: Sequence[int]) -> dict[str, Shape]:
    """Name and shape of every mask that a network of this spec draws in training.

    ``dropout.{l}`` (T, B, C, *S) multiplies the output of layer l. ``recurrent.{i}`` (B, H, *S)
    multiplies h where it enters U, i counting layers and directions as in a state.
    ``zoneout.{i}.h`` and ``.c`` (T, B, H, *S) keep the old state where they are 1. Masks are
    applied as given: a dropout mask includes the factor 1/(1−p).
    """
    shapes: dict[str, Shape] = {}
    sizes = layer_sizes(spec, size)
    for index, (layer, pixels) in enumerate(zip(spec.layers, sizes, strict=True)):
        if spec.dropout and index < len(spec.layers) - 1:
            for direction in spec.directions:
                shapes[dropout_mask(spec, index, direction)] = (time, batch, spec.layer_channels(index), *pixels)
        for d in range(len(spec.directions)):
            i = index * len(spec.directions) + d
            if spec.recurrent_dropout:
                shapes[f"recurrent.{i}"] = (batch, layer.hidden_channels, *pixels)
            if spec.zoneout:
                shapes |= {
                    f"zoneout.{i}.{part}": (time, batch, layer.hidden_channels, *pixels) for part in layer.state_names
                }
    return shapes


def dropout_mask(spec: NetworkSpec, layer: int, direction: str) -> str:
    """Name of the dropout mask behind a layer.

    Two directions share it, unless they are two whole stacks.
    """
    return f"dropout.{layer}.{direction}" if spec.bidirectional == "stack" else f"dropout.{layer}"


def patched_size(spec: ForecasterSpec, size: Sequence[int]) -> Shape:
    """Spatial size inside a forecaster. Raises ValueError unless the patch divides ``size``."""
    if len(size) != spec.ndim:
        raise ValueError(f"Forecaster expected {spec.ndim} spatial sizes, got {len(size)}: {tuple(size)}")
    for dimension, (n, p) in enumerate(zip(size, spec.patch, strict=True)):
        if n % p:
            raise ValueError(
                f"Forecaster expected a multiple of {p} (patch {spec.patch}) in spatial dimension {dimension}, got {n} (size {tuple(size)})"
            )
    return tuple(n // p for n, p in zip(size, spec.patch, strict=True))


def state_leaves(spec: Spec, state: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield each array of a state with its name: ``state.0.h``, ``state.0.c``.

    The number counts layers and directions.
    """
    for index, (names, entry) in enumerate(zip(_entry_names(spec), state, strict=True)):
        for name, array in zip(names, entry if len(names) > 1 else (entry,), strict=True):
            yield f"state.{index}.{name}", array


def nest_state(spec: Spec, leaves: Mapping[str, Any]) -> tuple[Any, ...]:
    """The inverse of ``state_leaves``: the state with these arrays."""
    entries: list[Any] = []
    for index, names in enumerate(_entry_names(spec)):
        parts = tuple(leaves[f"state.{index}.{name}"] for name in names)
        entries.append(parts[0] if len(parts) == 1 else parts)
    return tuple(entries)


def _entry_names(spec: Spec) -> list[tuple[str, ...]]:
    return [layer.state_names for layer in spec.recurrent.layers for _ in spec.recurrent.directions]


def count_parameters(spec: Spec) -> int:
    """Number of learned numbers in a network of this spec."""
    return sum(prod(shape) for shape in parameter_shapes(spec).values())
