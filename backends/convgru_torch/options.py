"""The option tables of the public modules: those of ``convgru.spec.options`` and torch's own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypedDict

import torch

from convgru.spec import options as spec_options
from convgru.spec.options import CellOptions, GRUOptions, LSTMOptions, StackOptions
from convgru_torch.execution import AUTOMATIC, ExecutionOptions

DEFAULTS: dict[str, Any] = {"batch_first": False, "device": None, "dtype": None, **asdict(AUTOMATIC)}
"""Defaults of the options that are no part of a spec."""


class Placement(TypedDict, total=False):
    """Device and dtype of the parameters, as everywhere in torch."""

    device: torch.device | str | int | None
    dtype: torch.dtype | None


class RNNCellOptions(CellOptions, Placement, ExecutionOptions, total=False):
    """Options of ConvRNNCell, which every other cell has too."""

    bias: bool


class GRUCellOptions(RNNCellOptions, GRUOptions, total=False):
    """Options of ConvGRUCell."""


class LSTMCellOptions(RNNCellOptions, LSTMOptions, total=False):
    """Options of ConvLSTMCell."""


class SequenceOptions(StackOptions, total=False):
    """Options of a stack, besides those of its layers."""

    batch_first: bool


class ConvRNNOptions(RNNCellOptions, SequenceOptions, total=False):
    """Options of ConvRNN."""


class ConvGRUOptions(GRUCellOptions, SequenceOptions, total=False):
    """Options of ConvGRU."""


class ConvLSTMOptions(LSTMCellOptions, SequenceOptions, total=False):
    """Options of ConvLSTM."""


class ForecasterOptions(RNNCellOptions, spec_options.ForecasterOptions, total=False):
    """Options of Forecaster, besides its named arguments: those of its networks."""

    batch_first: bool
