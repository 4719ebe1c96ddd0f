"""The PyTorch face: the public names of the room convgru_torch."""

from __future__ import annotations

from convgru.registry import explain

try:
    from convgru_torch import (
        ConvGRU,
        ConvGRUCell,
        ConvLSTM,
        ConvLSTMCell,
        ConvRNN,
        ConvRNNCell,
        Execution,
        Forecaster,
        Layer,
        detach,
        forecast,
        precise,
        run,
    )
except ModuleNotFoundError as error:
    raise explain("torch", error) from error

__all__ = [
    "ConvGRU",
    "ConvGRUCell",
    "ConvLSTM",
    "ConvLSTMCell",
    "ConvRNN",
    "ConvRNNCell",
    "Execution",
    "Forecaster",
    "Layer",
    "detach",
    "forecast",
    "precise",
    "run",
]
