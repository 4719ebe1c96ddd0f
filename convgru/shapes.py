"""The shapes that a spec implies: parameters, states, outputs; and the checks of a call against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec, Spec

Shape = tuple[int, ...]
AXES = {"T": "time", "B": "batch", "C": "channels"}


def layer_prefix(layer: int, direction: str = "fwd") -> str:
    """How the parameter names of one layer begin: ``layers.0.fwd.``."""
    return f"layers.{layer}.{direction}."


def cell_parameter_shapes(cell: CellSpec) -> dict[str, Shape]:
    """Shape of each parameter of one layer, by its short name."""
    rows = cell.gates * cell.hidden_channels
    shapes: dict[str, Shape] = {
        "weight_ih": (rows, cell.in_channels, *cell.kernel_size),
        "weight_hh": (rows, cell.hidden_channels, *cell.recurrent_kernel_size),
    }
    if cell.bias:
        shapes["bias"] = (rows,)
        if cell.reset == "after":
            shapes["bias_hn"] = (cell.hidden_channels,)
    return shapes


def parameter_shapes(spec: Spec) -> dict[str, Shape]:
    """Shape of each parameter, by its canonical name, in the order in which files and modules list them."""
    if isinstance(spec, ForecasterSpec):
        shapes = {f"encoder.{name}": shape for name, shape in parameter_shapes(spec.encoder).items()}
        shapes["readout.weight"] = (spec.encoder.in_channels, spec.encoder.out_channels, *(1,) * spec.ndim)
        shapes["readout.bias"] = (spec.encoder.in_channels,)
        return shapes
    return {
        layer_prefix(index) + name: shape
        for index, layer in enumerate(spec.layers)
        for name, shape in cell_parameter_shapes(layer).items()
    }


def layer_sizes(spec: NetworkSpec, size: Sequence[int]) -> list[Shape]:
    """Spatial size of each layer's state for an input of that spatial size. Raises ValueError where nothing is left."""
    if len(size) != spec.ndim:
        raise ValueError(f"{spec.title} expected {spec.ndim} spatial sizes, got {len(size)}: {tuple(size)}")
    sizes: list[Shape] = []
    for index, layer in enumerate(spec.layers):
        grown = []
        for dimension, (n, more) in enumerate(zip(size, layer.input_convolution.growth, strict=True)):
            if more < 0 and n + more < 1:
                raise ValueError(
                    f"{spec.title} expected at least {1 - more} pixels in spatial dimension {dimension} of the input "
                    f"of layer {index} (kernel {layer.kernel_size}, dilation {layer.dilation}, padding {layer.padding!r}), got {n}"
                )
            grown.append(n + more)
        size = tuple(grown)
        sizes.append(size)
    return sizes


def state_shapes(spec: Spec, batch: int, size: Sequence[int]) -> tuple[Any, ...]:
    """Shapes (B, H, *S) of the state for an input of spatial ``size``: for each layer h's, or a pair for (h, c)."""
    if isinstance(spec, ForecasterSpec):
        return state_shapes(spec.encoder, batch, patched_size(spec, size))
    entries: list[Any] = []
    for layer, own in zip(spec.layers, layer_sizes(spec, size), strict=True):
        shape = (batch, layer.hidden_channels, *own)
        entries.append((shape, shape) if layer.cell == "lstm" else shape)
    return tuple(entries)


def patched_size(spec: ForecasterSpec, size: Sequence[int]) -> Shape:
    """Spatial size inside a forecaster. Raises ValueError if ``size`` is not a multiple of the patch."""
    if len(size) != spec.ndim:
        raise ValueError(f"Forecaster expected {spec.ndim} spatial sizes, got {len(size)}: {tuple(size)}")
    for dimension, (n, p) in enumerate(zip(size, spec.patch, strict=True)):
        if n % p:
            raise ValueError(
                f"Forecaster expected a multiple of {p} (patch {spec.patch}) in spatial dimension {dimension}, got {n} (size {tuple(size)})"
            )
    return tuple(n // p for n, p in zip(size, spec.patch, strict=True))


def check_input(owner: str, channels: int, ndim: int, shape: Sequence[int], layout: str) -> tuple[int, Shape]:
    """Check the shape of an input and return its batch and spatial sizes.

    ``layout`` names the axes, ``S`` standing for all spatial ones: ``TBCS``, ``BTSC``, or ``BCS`` for a single frame.
    Raises ValueError, naming ``owner``, the axis, what was expected and what came.
    """
    shape = tuple(shape)
    axes = layout.replace("S", "DHW"[-ndim:])
    if len(shape) != len(axes):
        raise ValueError(
            f"{owner} expected an input of {len(axes)} axes ({', '.join(axes)}), got {len(shape)} (input shape {shape})"
        )
    axis = axes.index("C")
    if shape[axis] != channels:
        raise ValueError(
            f"{owner} expected {channels} input channels on axis {axis}, got {shape[axis]} (input shape {shape})"
        )
    for axis, name in enumerate(axes):
        if name != "B" and shape[axis] < 1:
            raise ValueError(
                f"{owner} expected at least 1 on axis {axis} ({AXES.get(name, name)}), got {shape[axis]} (input shape {shape})"
            )
    start = layout.index("S")
    return shape[axes.index("B")], shape[start : start + ndim]


def check_state(owner: str, expected: Sequence[Any], state: Any, layout: str = "BCS") -> None:
    """Check a given state against the shapes that ``state_shapes`` demands; every array must have a ``shape``.

    ``expected`` is channels first; ``layout`` ``BSC`` says that the state at hand is channels last. Raises ValueError or
    TypeError, naming the layer and the part.
    """
    if not isinstance(state, (tuple, list)):
        raise TypeError(
            f"{owner} expected a state that is a tuple of {len(expected)} (one entry for each layer), got {type(state).__name__}"
        )
    if len(state) != len(expected):
        raise ValueError(f"{owner} expected a state of {len(expected)} (one entry for each layer), got {len(state)}")
    for index, (want, got) in enumerate(zip(expected, state, strict=True)):
        pair = isinstance(want[0], tuple)
        if pair and not (isinstance(got, (tuple, list)) and len(got) == 2):
            raise TypeError(f"{owner} expected state[{index}] to be a pair (h, c), got {type(got).__name__}")
        parts = zip("hc", want, got, strict=True) if pair else (("h", want, got),)
        for name, shape, array in parts:
            _check_state_part(f"{owner} state[{index}] ({name})", shape, array, layout)


def _check_state_part(name: str, shape: Shape, array: Any, layout: str) -> None:
    if not hasattr(array, "shape"):
        raise TypeError(f"{name} expected an array, got {type(array).__name__}")
    want = shape if layout == "BCS" else (*shape[:1], *shape[2:], *shape[1:2])
    if tuple(array.shape) != want:
        raise ValueError(f"{name} expected shape {want}, got {tuple(array.shape)}")


def check_dtype(owner: str, what: str, expected: object, got: object) -> None:
    """Raise TypeError unless ``what`` has the dtype of the parameters."""
    if expected != got:
        raise TypeError(f"{owner} expected {what} of dtype {expected} (that of its parameters), got {got}")


def check_steps(owner: str, steps: object) -> None:
    """Raise ValueError unless ``steps``, how many frames to forecast, is a positive integer."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(
            f"{owner} expected steps, how many frames to forecast, to be a positive integer, got {steps!r}"
        )


def state_leaves(spec: Spec, state: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each array of a state with its name: ``state.0.h``, ``state.0.c``."""
    for index, (layer, entry) in enumerate(zip(spec.recurrent.layers, state, strict=True)):
        parts = entry if len(layer.state_names) > 1 else (entry,)
        for name, array in zip(layer.state_names, parts, strict=True):
            yield f"state.{index}.{name}", array


def nest_state(spec: Spec, leaves: Mapping[str, Any]) -> tuple[Any, ...]:
    """The state whose arrays ``state_leaves`` named."""
    entries: list[Any] = []
    for index, layer in enumerate(spec.recurrent.layers):
        parts = tuple(leaves[f"state.{index}.{name}"] for name in layer.state_names)
        entries.append(parts[0] if len(parts) == 1 else parts)
    return tuple(entries)


def count_parameters(spec: Spec) -> int:
    """How many numbers a network of this spec learns."""
    return sum(prod(shape) for shape in parameter_shapes(spec).values())
