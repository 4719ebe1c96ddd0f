"""The options of every native module: types for editors and checkers, and signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

from convgru.spec.builders import Ints, network
from convgru.spec.cell import Norm

Activation = Literal["tanh", "relu", "leaky_relu", "sigmoid", "hard_sigmoid", "hard_sigmoid_0.2"]
Padding = Literal["same", "valid", "preserve"] | int | tuple[int | tuple[int, int], ...]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Reset = Literal["before", "after"]
Peephole = Literal["hadamard", "conv"]
Bidirectional = bool | Literal["layer", "stack"] | None
Merge = Literal["concat", "sum", "mean", "mul"]


class CellOptions(TypedDict, total=False):
    """Options of every cell; each framework adds its name for ``bias``, its dtype and device."""

    recurrent_kernel_size: Ints | list[Ints] | None
    stride: Ints | list[Ints]
    recurrent_stride: Ints | list[Ints]
    dilation: Ints | list[Ints]
    recurrent_dilation: Ints | list[Ints] | None
    groups: int | list[int]
    padding: Padding | list[Padding]
    padding_mode: PaddingMode
    activation: Activation
    recurrent_activation: Activation
    norm: Norm | int | tuple[int, ...] | None
    updates: tuple[Ints, ...]


class GRUOptions(TypedDict, total=False):
    """Options of a ConvGRU's cell besides ``CellOptions``."""

    reset: Reset


class LSTMOptions(TypedDict, total=False):
    """Options of a ConvLSTM's cell besides ``CellOptions``."""

    peephole: Peephole | None
    state_size: Ints | list[Ints] | None


class MaskOptions(TypedDict, total=False):
    """Probabilities of the masks that are drawn in training."""

    dropout: float
    recurrent_dropout: float
    zoneout: float


class ForecasterOptions(LSTMOptions, MaskOptions, total=False):
    """Options of a forecaster's networks besides ``CellOptions``; its cell decides what applies."""

    reset: Reset | None


class StackOptions(MaskOptions, total=False):
    """Options of a stack besides those of its layers."""

    bidirectional: Bidirectional
    merge: Merge
    output_size: Ints | None


Class = TypeVar("Class", bound=type)


def explicit(options: type, defaults: Mapping[str, Any]) -> Callable[[Class], Class]:
    """Class decorator: the signature of ``__init__`` lists every option instead of ``**options``.

    It stands on ``__init__`` itself, which the class must define, so that a subclass with a
    constructor of its own shows its own.

    Args:
        options: A TypedDict, the table of the class's options.
        defaults: Those of the options that ``convgru.network`` does not have, or has under another
            name.
    """

    def decorate(cls: Class) -> Class:
        constructor = vars(cls)["__init__"]
        shown = inspect.signature(constructor)
        added = {p.name: p for p in _parameters(options, defaults)}  # again the same on a class that is decorated twice
        kept = [p for p in shown.parameters.values() if p.kind is not p.VAR_KEYWORD and p.name not in added]
        constructor.__signature__ = shown.replace(parameters=[*kept, *added.values()])
        return cls

    return decorate


def _parameters(options: type, defaults: Mapping[str, Any]) -> list[inspect.Parameter]:
    """The options in the order of ``convgru.network``, then those that it does not have."""
    usual = {name: p.default for name, p in inspect.signature(network).parameters.items()} | {"reset": "before"}
    usual |= defaults
    hints = get_type_hints(options)
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=usual[name], annotation=hints[name])
        for name in usual
        if name in hints
    ]


def refuse_unknown(owner: str, given: Mapping[str, Any], options: type) -> None:
    """Raise TypeError, as Python does, for an option that the table does not have."""
    for name in given:
        if name not in get_type_hints(options):
            raise TypeError(f"{owner}() got an unexpected keyword argument {name!r}")


def refuse_build_options(backend: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise TypeError for an option that ``convgru.build`` does not have for this backend."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(
            f'convgru.build(..., "{backend}") has no option {", ".join(map(repr, unknown))}: '
            f"its options are {', '.join(known)}"
        )
