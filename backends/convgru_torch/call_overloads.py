"""Overloads of a stack's call, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, overload

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from convgru_torch.functional import State

Lengths = Tensor | Sequence[int]


class StackCall(Protocol):
    """The overloads of a stack's call: packed input, all layers, last frames only."""

    @overload
    def __call__(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: Literal[False] = False,
        last_only: bool = False,
    ) -> tuple[Tensor, State]: ...

    @overload
    def __call__(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: Literal[True],
        last_only: bool = False,
    ) -> tuple[tuple[Tensor, ...], State]: ...

    @overload
    def __call__(
        self,
        x: PackedSequence,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: Literal[False] = False,
        last_only: Literal[False] = False,
    ) -> tuple[PackedSequence, State]: ...

    @overload
    def __call__(
        self,
        x: PackedSequence,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: Literal[True],
        last_only: Literal[False] = False,
    ) -> tuple[tuple[PackedSequence, ...], State]: ...

    @overload
    def __call__(
        self,
        x: PackedSequence,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: Literal[False] = False,
        last_only: Literal[True],
    ) -> tuple[Tensor, State]: ...

    @overload
    def __call__(
        self,
        x: PackedSequence,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: Literal[True],
        last_only: Literal[True],
    ) -> tuple[tuple[Tensor, ...], State]: ...
