"""The options of the public modules, as type checkers and editors see them, and as ``help`` shows them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, get_type_hints

import mindspore as ms

from convgru.spec import Ints, Norm, network


class Common(TypedDict, total=False):
    """What every cell has."""

    recurrent_kernel_size: Ints | list[Ints] | None
    stride: Ints | list[Ints]
    recurrent_stride: Ints | list[Ints]
    dilation: Ints | list[Ints]
    recurrent_dilation: Ints | list[Ints] | None
    groups: int | list[int]
    padding: Any
    padding_mode: str
    has_bias: bool
    activation: str
    recurrent_activation: str
    norm: Norm | int | tuple[int, ...] | None
    updates: tuple[Ints, ...]
    dtype: Any
    accurate: bool


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


OWN: dict[str, Any] = {"batch_first": False, "dtype": ms.float32, "accurate": True}
"""The options that no spec knows, and their defaults."""
Kind = TypeVar("Kind", bound=type)


def explicit(options: type) -> Callable[[Kind], Kind]:
    """Class decorator: ``help`` and ``inspect.signature`` show each option and its default instead of ``**options``."""

    def decorate(kind: Kind) -> Kind:
        given = inspect.signature(kind)
        own = [p for p in given.parameters.values() if p.kind is not p.VAR_KEYWORD]
        usual = {name: p.default for name, p in inspect.signature(network).parameters.items()}
        usual |= {"has_bias": True, "reset": "before", **OWN}
        hints = get_type_hints(options)
        order = [name for name in usual if name in hints]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=usual[name], annotation=hints[name])
            for name in order
        ]
        kind.__signature__ = given.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return kind

    return decorate


def taken(owner: str, given: dict[str, Any], options: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options for the spec, under its names, and those of the module itself.

    Raises TypeError, as Python does, for an option that is not there.
    """
    known = options.__annotations__
    for name in given:
        if name not in known:
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")
    own = {name: given.get(name, default) for name, default in OWN.items() if name in known}
    rest = {"bias" if name == "has_bias" else name: value for name, value in given.items() if name not in OWN}
    return rest, own
