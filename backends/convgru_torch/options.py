"""The option tables of the public modules: those of ``convgru.spec.options`` and torch's own."""

from __future__ import annotations

from typing import Any, TypedDict

import torch

from convgru.spec.options import CellOptions, GRUOptions, LSTMOptions, MaskOptions, StackOptions

DEFAULTS: dict[str, Any] = {"batch_first": False, "device": None, "dtype": None}
"""The options that no spec holds."""


class Placement(TypedDict, total=False):
    """Where the parameters live, and in what dtype, as everywhere in torch."""

    device: torch.device | str | int | None
    dtype: torch.dtype | None


class RNNCellOptions(CellOptions, Placement, total=False):
    """What a ConvRNNCell has, and every other cell too."""

    bias: bool


class GRUCellOptions(RNNCellOptions, GRUOptions, total=False):
    """What a ConvGRUCell has."""


class LSTMCellOptions(RNNCellOptions, LSTMOptions, total=False):
    """What a ConvLSTMCell has."""


class SequenceOptions(StackOptions, total=False):
    """What a stack has besides its layers."""

    batch_first: bool


class ConvRNNOptions(RNNCellOptions, SequenceOptions, total=False):
    """What a ConvRNN has."""


class ConvGRUOptions(GRUCellOptions, SequenceOptions, total=False):
    """What a ConvGRU has."""


class ConvLSTMOptions(LSTMCellOptions, SequenceOptions, total=False):
    """What a ConvLSTM has."""


class ForecasterOptions(GRUCellOptions, LSTMCellOptions, MaskOptions, total=False):
    """What a Forecaster has besides its own arguments: what its networks have."""

    batch_first: bool
