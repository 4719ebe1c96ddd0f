"""The options of the public modules, as type checkers and editors see them, and as ``help`` shows them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypedDict, TypeVar, get_type_hints

import torch

from convgru.spec import Ints, Norm, network


class Placement(TypedDict, total=False):
    """Where the parameters live, and in what dtype, as everywhere in torch."""

    device: Any
    dtype: torch.dtype | None


class Common(Placement, total=False):
    """What every cell has."""

    recurrent_kernel_size: Ints | list[Ints] | None
    stride: Ints | list[Ints]
    recurrent_stride: Ints | list[Ints]
    dilation: Ints | list[Ints]
    recurrent_dilation: Ints | list[Ints] | None
    groups: int | list[int]
    padding: Any
    padding_mode: str
    bias: bool
    activation: str
    recurrent_activation: str
    norm: Norm | int | tuple[int, ...] | None
    updates: tuple[Ints, ...]


class GRUOptions(Common, total=False):
    """What a ConvGRUCell has."""

    reset: str


class LSTMOptions(Common, total=False):
    """What a ConvLSTMCell has."""

    peephole: str | None
    state_size: Ints | list[Ints] | None


class Sequences(TypedDict, total=False):
    """What a stack has besides its layers."""

    bidirectional: bool | str | None
    merge: str
    dropout: float
    recurrent_dropout: float
    zoneout: float
    output_size: Ints | None
    batch_first: bool


class ConvRNNOptions(Common, Sequences, total=False):
    """What a ConvRNN has."""


class ConvGRUOptions(GRUOptions, Sequences, total=False):
    """What a ConvGRU has."""


class ConvLSTMOptions(LSTMOptions, Sequences, total=False):
    """What a ConvLSTM has."""


class ForecasterOptions(GRUOptions, LSTMOptions, total=False):
    """What a Forecaster has besides its own arguments: what its networks have."""

    dropout: float
    recurrent_dropout: float
    zoneout: float
    batch_first: bool


Kind = TypeVar("Kind", bound=type)


def explicit(options: type) -> Callable[[Kind], Kind]:
    """Class decorator: ``help`` and ``inspect.signature`` show each option and its default instead of ``**options``."""

    def decorate(kind: Kind) -> Kind:
        given = inspect.signature(kind)
        own = [p for p in given.parameters.values() if p.kind is not p.VAR_KEYWORD]
        kind.__signature__ = given.replace(parameters=[*own, *_parameters(options)])  # type: ignore[attr-defined]
        return kind

    return decorate


def _parameters(options: type) -> Iterator[inspect.Parameter]:
    core = inspect.signature(network).parameters
    others = {"batch_first": False, "device": None, "dtype": None, "reset": "before"}
    hints = get_type_hints(options)
    for name in sorted(hints, key=lambda name: [*core, *others].index(name)):
        default = others[name] if name in others else core[name].default
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])


def refuse_unknown(owner: str, given: dict[str, Any], options: type) -> None:
    """Raise TypeError, as Python does, for an argument that is not there."""
    for name in given:
        if name not in options.__annotations__:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
