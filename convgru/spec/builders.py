"""The constructors that users meet: short forms spread over layers and dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from numbers import Integral
from typing import Any

from convgru.spec.cell import GATES, NORMED, TITLES, CellSpec, Norm
from convgru.spec.convolution import MODES
from convgru.spec.fields import is_size, one_of, positive
from convgru.spec.networks import BIDIRECTIONAL, MERGES, ForecasterSpec, NetworkSpec

Ints = int | tuple[int, ...]
"""One number for all spatial dimensions, or one for each."""
MOST_LAYERS = 10_000
"""Limit on the layers of a network: a config of a few bytes may ask for any number."""


def network(
    cell: str,
    in_channels: int,
    hidden_channels: int | list[int],
    kernel_size: Ints | list[Ints] | None = None,
    num_layers: int | None = None,
    *,
    ndim: int = 2,
    recurrent_kernel_size: Ints | list[Ints] | None = None,
    stride: Ints | list[Ints] = 1,
    recurrent_stride: Ints | list[Ints] = 1,
    dilation: Ints | list[Ints] = 1,
    recurrent_dilation: Ints | list[Ints] | None = None,
    groups: int | list[int] = 1,
    padding: Any = "same",
    padding_mode: str = "zeros",
    bias: bool = True,
    reset: str | None = None,
    activation: str = "tanh",
    recurrent_activation: str = "sigmoid",
    peephole: str | None = None,
    state_size: Ints | list[Ints] | None = None,
    norm: Norm | int | tuple[int, ...] | None = None,
    updates: tuple[Ints, ...] = (),
    bidirectional: bool | str | None = None,
    merge: str = "concat",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    zoneout: float = 0.0,
    output_size: Ints | None = None,
) -> NetworkSpec:
    """Describe a network; a tuple is per dimension, a list per layer, a number for all.

    A list of ``hidden_channels``, or ``num_layers``, says how many layers there are; any other list
    must have one entry for each. ``kernel_size`` None is 3; the recurrent kernel size and dilation
    default to the input's. ``updates`` are kernel sizes themselves: neither kernel size goes with
    them. ``padding`` is
    ``same``, ``valid``, ``preserve``, a number, or a tuple with a number or a (low, high) pair for
    each dimension. ``reset`` defaults to ``before`` for a GRU. ``norm`` is a number of groups (1:
    layer norm), a tuple with one for each normalised tensor, or a ``Norm``. ``bidirectional`` True
    means ``layer``. The other arguments are those of ``CellSpec`` and ``NetworkSpec``.

    JSON has no tuples: a list within a list, and a list where nothing is for each layer, is read as
    a tuple (``describe.json_arguments`` writes them so). Raises ValueError or TypeError, naming the
    argument.
    """
    one_of("cell", cell, tuple(GATES))
    one_of("ndim", ndim, (1, 2, 3))
    if isinstance(bidirectional, bool):
        bidirectional = "layer" if bidirectional else None
    one_of(f"{TITLES[cell]} bidirectional", bidirectional, BIDIRECTIONAL)
    one_of(f"{TITLES[cell]} merge", merge, MERGES)
    kernel = 3 if kernel_size is None else kernel_size
    given = {
        "hidden_channels": hidden_channels,
        "kernel_size": kernel,
        "recurrent_kernel_size": kernel if recurrent_kernel_size is None else recurrent_kernel_size,
        "stride": stride,
        "recurrent_stride": recurrent_stride,
        "dilation": dilation,
        "recurrent_dilation": dilation if recurrent_dilation is None else recurrent_dilation,
        "groups": groups,
        "padding": padding,
        "state_size": state_size,
    }
    given = {name: _plain(value) for name, value in given.items()}
    in_channels, output_size = _frozen(in_channels), _frozen(output_size)
    if isinstance(updates, list) and all(isinstance(each, (list, tuple)) for each in updates):
        updates = _frozen(updates)  # a list of numbers might be meant for each layer
    for name in ("hidden_channels", "groups"):
        if isinstance(given[name], tuple):
            text = f"{TITLES[cell]} {name} expected a number, or a list with one for each layer, got {given[name]!r}"
            raise ValueError(text)
    for name, value in (("kernel_size", kernel_size), ("recurrent_kernel_size", recurrent_kernel_size)):
        if updates and value is not None:
            raise ValueError(
                f"{TITLES[cell]} expected no {name} beside updates, which are kernel sizes, got {name}={value!r}"
            )
    shared = {
        "padding_mode": padding_mode,
        "bias": bias,
        "reset": "before" if cell == "gru" and reset is None else reset,
        "activation": activation,
        "recurrent_activation": recurrent_activation,
        "peephole": peephole,
        "norm": _norm(cell, norm),
        "updates": tuple(per_dimension(k, ndim) for k in updates) if isinstance(updates, tuple) else updates,
    }
    double = 2 if bidirectional == "layer" and merge == "concat" else 1
    layers: list[CellSpec] = []
    for index in range(_count_layers(TITLES[cell], given, num_layers)):
        sizes = {name: value[index] if isinstance(value, list) else value for name, value in given.items()}
        for name in set(sizes) - {"hidden_channels", "groups"}:
            sizes[name] = (
                _padding(TITLES[cell], sizes[name], ndim) if name == "padding" else per_dimension(sizes[name], ndim)
            )
        channels = double * layers[-1].hidden_channels if layers else in_channels
        if isinstance(updates, tuple) and updates:
            sizes["kernel_size"] = sizes["recurrent_kernel_size"] = per_dimension(updates[0], ndim)
        layers.append(CellSpec(cell, ndim, channels, **sizes, **shared))
    size = per_dimension(output_size, ndim)
    return NetworkSpec(tuple(layers), bidirectional, merge, dropout, recurrent_dropout, zoneout, size)


def forecaster(
    cell: str,
    channels: int,
    hidden_channels: int | list[int],
    kernel_size: Ints | list[Ints] | None = None,
    num_layers: int | None = None,
    *,
    ndim: int = 2,
    patch: Ints = 1,
    residual: bool = True,
    decoder: bool | NetworkSpec | Mapping[str, Any] | None = False,
    feedback: bool = True,
    **options: Any,
) -> ForecasterSpec:
    """Describe a forecaster of frames with ``channels`` channels.

    The arguments that are not listed are those of ``network``. ``decoder`` True makes one like the
    encoder, with separate weights; it may also be a spec, or the arguments of one. Raises
    ValueError or TypeError, naming the argument.
    """
    if isinstance(decoder, Mapping):
        decoder = network(**decoder)
    if decoder is not None and not isinstance(decoder, (bool, NetworkSpec)):
        raise TypeError(
            f"Forecaster decoder expected True, False, None or a NetworkSpec (convgru.network), got {decoder!r}"
        )
    one_of("ndim", ndim, (1, 2, 3))
    patches = per_dimension(_frozen(patch), ndim)
    for number in patches if isinstance(patches, tuple) else (patches,):
        positive("Forecaster patch", number)
    positive("Forecaster channels", channels)
    inside = channels * prod(patches)
    encoder = network(cell, inside, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)
    second = replace(encoder) if decoder is True else (decoder or None)
    return ForecasterSpec(encoder, patches, residual, second, feedback)


def per_dimension(value: Any, ndim: int) -> Any:
    """Repeat a number for each dimension; any other value is returned for validation to refuse."""
    return (value,) * ndim if isinstance(value, int) and not isinstance(value, bool) else value


def _padding(title: str, value: Any, ndim: int) -> Any:
    """A padding with a (low, high) pair for each dimension; a name stays."""
    spread = per_dimension(value, ndim)
    if not isinstance(spread, tuple):
        return spread
    pairs = tuple((each, each) if isinstance(each, int) else each for each in spread)
    if len(pairs) != ndim or not all(isinstance(p, tuple) and len(p) == 2 and all(map(is_size, p)) for p in pairs):
        raise ValueError(
            f"{title} padding expected {', '.join(map(repr, MODES))}, an integer >= 0, or a tuple of {ndim} with one, "
            f"or a (low, high) pair, for each dimension, got {value!r}"
        )
    return pairs


def _plain(value: Any) -> Any:
    """Convert a value from JSON: a list is per layer, and a list within it stands for a tuple."""
    return [*map(_frozen, value)] if isinstance(value, list) else _frozen(value)


def _frozen(value: Any) -> Any:
    """Convert lists to tuples and NumPy's integers to int, so that a spec can be hashed."""
    if isinstance(value, (tuple, list)):
        return (*map(_frozen, value),)
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _norm(cell: str, norm: Any) -> Any:
    """A Norm of a number of groups, a tuple of them, or what JSON made of a Norm."""
    if isinstance(norm, Mapping) and norm.keys() == {"groups", "eps"}:
        return Norm(_frozen(norm["groups"]), norm["eps"])
    norm = _frozen(norm)
    if isinstance(norm, int) and not isinstance(norm, bool):
        norm = (norm,) * len(NORMED[cell])
    return Norm(norm) if isinstance(norm, tuple) else norm


def _count_layers(title: str, given: Mapping[str, Any], num_layers: int | None) -> int:
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, list)}
    count = lengths.get("hidden_channels", 1) if num_layers is None else num_layers
    if given["hidden_channels"] == []:
        raise ValueError(f"{title} hidden_channels expected a number, or a list with one for each layer, got []")
    positive(f"{title} num_layers", count)
    if count > MOST_LAYERS:
        raise ValueError(f"{title} num_layers expected at most {MOST_LAYERS}, got {count}")
    implied = num_layers is None and "hidden_channels" not in lengths
    for name, length in lengths.items():
        if length != count:
            raise ValueError(
                f"{title} {name} expected a list of {count} (one for each layer), got {length}: {given[name]!r}"
                + ("; a list of hidden_channels, or num_layers, says how many layers there are" if implied else "")
            )
    return count
