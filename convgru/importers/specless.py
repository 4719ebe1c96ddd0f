"""Derive the spec of convgru's own arrays from their names and shapes, where none is stored.

Hints (arguments of ``convgru.network`` or ``convgru.forecaster``) give the rest of the spec. What
neither gives is assumed to be the default, and reported.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from math import prod
from typing import Any

from convgru.errors import WeightsError
from convgru.formats.names import below
from convgru.spec import ForecasterSpec, NetworkSpec, Spec, forecaster, network
from convgru.spec.fields import positive
from convgru.spec.shapes import layer_prefix

LAYOUT = "convgru"
"""The name under which this layout is asked for: it is never chosen without being named."""
ADVICE = (
    f"the arrays have convgru's names, but come without the spec that belongs to them: spec=… gives it; "
    f"layout={LAYOUT!r} derives it from the shapes, hints (arguments of convgru.network), and defaults that are reported"
)
ADVICE_OF_COMMANDS = (
    "the arrays have convgru's names, but the file does not hold the spec that belongs to them: "
    f"--layout {LAYOUT} derives it from the shapes, --hint NAME=VALUE (arguments of convgru.network), and defaults "
    "that are reported"
)
"""The same on the command line, which has options for arguments."""
CELLS = {1: "rnn", 3: "gru", 4: "lstm"}
"""Number of gates -> cell."""
Shapes = Mapping[str, tuple[int, ...]]

_PER_LAYER = ("stride", "recurrent_stride", "dilation", "recurrent_dilation", "padding", "groups")
_PLAIN = (
    *("cell", "in_channels", "channels", "hidden_channels", "num_layers", "ndim", "padding_mode", "bias", "reset"),
    *(
        "activation",
        "recurrent_activation",
        "peephole",
        "norm",
        "bidirectional",
        "merge",
        "dropout",
        "recurrent_dropout",
    ),
    *("zoneout", "output_size", "patch", "residual", "decoder", "feedback"),
)

_PARAMETER = re.compile(r"(?:.*\.)?layers\.\d+\.(?:fwd|bwd)\.(?:updates\.\d+\.)?\w+", re.DOTALL)
_ARRAY = re.compile(
    r"(?P<prefix>|.*?\.)(?P<part>(?:encoder\.|decoder\.|)layers\.\d{1,4}\.(?:fwd|bwd)\.(?:updates\.\d{1,2}\.)?"
    r"weight_(?:ih|hh))",
    re.DOTALL,
)


def is_ours(name: str) -> bool:
    """Whether an array of this name is a parameter of one of convgru's layers."""
    return _PARAMETER.fullmatch(name) is not None


def is_bare_cell(names: Iterable[str]) -> bool:
    """Whether the arrays are those of a bare cell: one layer's, without the name of a layer."""
    names = set(names)
    starts = {"weight_ih", "updates.0.weight_ih"} & names
    return bool(starts) and all(is_ours(layer_prefix(0) + name) for name in names)


def prefixes(names: Iterable[str]) -> list[str]:
    """Return the prefixes of the networks among arrays with convgru's names.

    A forecaster's encoder, decoder and readout count as one network.
    """
    names = set(names)
    starts: set[str] = set()
    for match in filter(None, map(_ARRAY.fullmatch, names)):
        inner = match["part"].partition("layers.")[0]
        whole = f"{match['prefix']}readout.weight" in names
        starts.add(match["prefix"] if whole else match["prefix"] + inner)
    return sorted(starts)


def of_network(names: Sequence[str], prefix: str) -> list[str]:
    """Of sorted names, return those of the network at ``prefix``, not its module's others."""
    whole = any(below(names, f"{prefix}encoder.layers."))
    roots = ("encoder.layers.", "decoder.layers.", "readout.") if whole else ("layers.",)
    return [name for root in sorted(roots) for name in below(names, prefix + root)]


def sentence(assumed: Mapping[str, Any]) -> str:
    """Return the sentence that reports which arguments were assumed."""
    values = ", ".join(f"{name}={value!r}" for name, value in assumed.items())
    return f"neither the file nor a hint gives {values}: assumed, a hint of that name says otherwise"


def spec_of(shapes: Shapes, hints: Mapping[str, Any]) -> tuple[Spec, dict[str, Any]]:
    """Derive the spec of a network from the shapes of its arrays.

    Args:
        shapes: Shape of each array by its canonical name.
        hints: Arguments of ``convgru.network``, or of ``convgru.forecaster`` where there is a
            ``readout``.

    Returns: The spec, and the arguments that neither shapes nor hints gave, each with the default
        that was assumed.

    Raises:
        WeightsError: An array is missing, or no network has these shapes and hints.
    """
    flat = [name for name, shape in shapes.items() if name.endswith(("weight_ih", "weight_hh")) and len(shape) < 3]
    if flat:
        raise WeightsError(
            f"layout={LAYOUT!r}: {flat[0]!r} expected shape (rows, channels, *kernel), got {shapes[flat[0]]}"
        )
    try:
        return _forecaster(shapes, hints) if _is_forecaster(shapes) else _network(shapes, hints)
    except KeyError as error:
        raise WeightsError(f"layout={LAYOUT!r}: the array {error.args[0]!r} is missing") from None
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise WeightsError(f"layout={LAYOUT!r}: {error} (hints are arguments of convgru.network)") from None


def hints_in(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """Return the constructor arguments of a ``config.json`` as hints.

    JSON has no tuples: its lists are per layer or per dimension, whichever length fits the arrays.
    Raises WeightsError where both do. Kernel sizes, which the shapes give, and what is no part of a
    spec are left out.
    """
    start = "encoder." if _is_forecaster(shapes) else ""
    layers = 1 + max(int(hit[1]) for name in shapes if (hit := re.match(rf"{start}layers\.(\d{{1,4}})\.", name)))
    ndim = next(len(shape) - 2 for name, shape in shapes.items() if name.endswith(("weight_ih", "weight_hh")))
    hints: dict[str, Any] = {}
    for name, value in config.items():
        if name in _PER_LAYER and isinstance(value, list):
            hints[name] = _sorted_out(name, value, layers, ndim)
        elif name in _PLAIN or name in _PER_LAYER:
            hints[name] = tuple(value) if isinstance(value, list) and name != "hidden_channels" else value
    return hints


def _sorted_out(name: str, value: list[Any], layers: int, ndim: int) -> Any:
    """Return a list as it is (for each layer), or as a tuple (for each dimension)."""
    pairs = [tuple(each) if isinstance(each, list) else each for each in value]
    if layers == ndim and any(each != pairs[0] for each in pairs) and not any(isinstance(each, list) for each in value):
        raise WeightsError(
            f"{name}={value} in config.json is for each layer or for each dimension: give it as a hint, a list or a tuple"
        )
    return pairs if len(value) == layers else tuple(pairs)


def _is_forecaster(names: Iterable[str]) -> bool:
    return any(name.startswith("encoder.") for name in names)


def _network(shapes: Shapes, hints: Mapping[str, Any]) -> tuple[NetworkSpec, dict[str, Any]]:
    given = {**_arguments(shapes, hints), **hints}
    spec = network(**given)
    # Two stacks look like layers whose directions are merged to H channels: that is a guess too.
    guessed = {"bidirectional"} if spec.bidirectional == "stack" and "bidirectional" not in hints else set()
    return spec, assumed(spec, given.keys() - guessed)


def _forecaster(shapes: Shapes, hints: Mapping[str, Any]) -> tuple[ForecasterSpec, dict[str, Any]]:
    """A forecaster: its encoder's shapes and hints, and whether there is a decoder."""
    parts: dict[str, dict[str, tuple[int, ...]]] = {"encoder": {}, "decoder": {}}
    for name, shape in shapes.items():
        part, _, inside_name = name.partition(".")
        if part in parts:
            parts[part][inside_name] = shape
    options = {name: value for name, value in hints.items() if name in ("patch", "residual", "feedback", "decoder")}
    rest = {name: value for name, value in hints.items() if name not in options and name not in ("channels",)}
    inner, missing = _network(parts["encoder"], rest)
    given = {**_arguments(parts["encoder"], rest), **rest}
    inside = given.pop("in_channels")
    patch = options.get("patch", 1)
    pixels = patch**inner.ndim if isinstance(patch, int) else prod(patch)
    if inside % pixels:
        raise ValueError(f"patch expected a divisor of the encoder's {inside} channels, got {patch!r}")
    channels = hints.get("channels", inside // pixels)
    decoder: Any = options.pop("decoder", bool(parts["decoder"]))
    if decoder is True and parts["decoder"]:
        decoder, _ = _network(parts["decoder"], rest)
    spec = forecaster(given.pop("cell"), channels, given.pop("hidden_channels"), decoder=decoder, **options, **given)
    defaults = {"patch": spec.patch, "residual": spec.residual, "feedback": spec.feedback}
    assumed_here = {name: _short(value) for name, value in defaults.items() if name not in options}
    skipped = ("output_size", "merge", "bidirectional")  # a forecaster has none
    return spec, {**assumed_here, **{name: value for name, value in missing.items() if name not in skipped}}


def assumed(spec: NetworkSpec, given: Container[str]) -> dict[str, Any]:
    """Return the arguments that change what a spec computes and are not in ``given``."""
    first, layers = spec.layers[0], spec.layers
    values: dict[str, Any] = {
        "groups": [layer.groups for layer in layers],
        "stride": [layer.stride for layer in layers],
        "recurrent_stride": [layer.recurrent_stride for layer in layers],
        "dilation": [layer.dilation for layer in layers],
        "recurrent_dilation": [layer.recurrent_dilation for layer in layers],
        "padding": [layer.padding for layer in layers],
        "padding_mode": first.padding_mode,
        "activation": first.activation,
        "recurrent_activation": first.recurrent_activation,
        "output_size": spec.output_size,
        "recurrent_dropout": spec.recurrent_dropout,
        "zoneout": spec.zoneout,
    }
    if spec.cell == "rnn":
        del values["recurrent_activation"]
    if spec.cell == "gru":
        values["reset"] = first.reset
    if spec.bidirectional is not None:
        values |= {"bidirectional": spec.bidirectional, "merge": spec.merge}
    if len(layers) > 1:
        values["dropout"] = spec.dropout
    return {name: _short(value) for name, value in values.items() if name not in given}


def _short(value: Any) -> Any:
    """Return one value for what is the same in all layers, or in all dimensions."""
    while isinstance(value, (list, tuple)) and value and all(each == value[0] for each in value):
        value = value[0]
    return value


def _arguments(shapes: Shapes, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ``network`` that the shapes give."""
    if f"{layer_prefix(0)}norm_weight" in shapes and "norm" not in hints:
        raise ValueError("norm expected a hint, the number of groups, which the arrays do not hold")
    count = 1 + max((int(name.split(".")[1]) for name in shapes if re.match(r"layers\.\d", name)), default=0)
    step = "updates.0." if f"{layer_prefix(0)}updates.0.weight_hh" in shapes else ""
    weights = [[shapes[f"{layer_prefix(n)}{step}weight_{part}"] for part in ("ih", "hh")] for n in range(count)]
    groups = hints.get("groups", 1)
    per_layer = groups if isinstance(groups, list) else [groups] * count
    for number in per_layer:
        positive("groups", number)
    hidden = [hh[1] * n for (_, hh), n in zip(weights, per_layer, strict=True)]
    gates = weights[0][0][0] // hidden[0]
    if gates not in CELLS or gates * hidden[0] != weights[0][0][0]:
        raise ValueError(f"expected 1, 3 or 4 gates of {hidden[0]} channels, got {weights[0][0][0]} rows")
    bias = f"{layer_prefix(0)}{step}bias" in shapes
    given: dict[str, Any] = {
        "cell": CELLS[gates],
        "in_channels": weights[0][0][1] * per_layer[0],
        "hidden_channels": hidden,
        "ndim": len(weights[0][0]) - 2,
        "bias": bias,
    }
    if step:
        given["updates"] = _update_kernels(shapes)
    else:
        given["kernel_size"] = [ih[2:] for ih, _ in weights]
        given["recurrent_kernel_size"] = [hh[2:] for _, hh in weights]
    if CELLS[gates] == "gru" and bias:
        given["reset"] = "after" if f"{layer_prefix(0)}{step}bias_hn" in shapes else "before"
    if f"{layer_prefix(0, 'bwd')}{step}weight_hh" in shapes:
        given |= _directions(count, hidden, [ih[1] * n for (ih, _), n in zip(weights, per_layer, strict=True)], hints)
    return given | _peephole(shapes, weights[0][1], count, step)


def _update_kernels(shapes: Shapes) -> tuple[tuple[int, ...], ...]:
    """The kernel sizes of the updates of layer 0."""
    start = f"{layer_prefix(0)}updates."
    count = 1 + max(int(name[len(start) :].split(".")[0]) for name in shapes if name.startswith(start))
    return tuple(shapes[f"{start}{index}.weight_hh"][2:] for index in range(count))


def _directions(count: int, hidden: list[int], channels: list[int], hints: Mapping[str, Any]) -> dict[str, Any]:
    """How a network runs in both directions, told by the second layer's input channels."""
    if count == 1:
        return {"bidirectional": "layer"}  # the same as two stacks of one layer
    if channels[1] == 2 * hidden[0]:
        return {"bidirectional": "layer", "merge": "concat"}
    return {} if "bidirectional" in hints else {"bidirectional": "stack"}


def _peephole(shapes: Shapes, recurrent: tuple[int, ...], count: int, step: str) -> dict[str, Any]:
    """The kind of peephole, and the image size that it is tied to."""
    shape = shapes.get(f"{layer_prefix(0)}{step}peephole_i")
    if shape is None:
        return {}
    if shape[1:] == recurrent[1:]:
        return {"peephole": "conv"}
    sizes = [shapes[f"{layer_prefix(index)}{step}peephole_i"][1:] for index in range(count)]
    tied = any(set(size) != {1} for size in sizes)
    return {"peephole": "hadamard", **({"state_size": sizes} if tied else {})}
