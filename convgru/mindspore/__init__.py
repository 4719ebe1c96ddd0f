"""MindSpore: ConvGRU, ConvLSTM, ConvRNN, their cells and the forecaster as mindspore.nn.Cell."""

from __future__ import annotations

from convgru.registry import explain

try:
    from convgru_mindspore.cells import ConvGRUCell, ConvLSTMCell, ConvRNNCell
    from convgru_mindspore.export import Flat
    from convgru_mindspore.forecaster import Forecaster
    from convgru_mindspore.functional import detach, forecast, run, step
    from convgru_mindspore.stacks import ConvGRU, ConvLSTM, ConvRNN
except ModuleNotFoundError as error:
    raise explain("mindspore", error) from error

__all__ = [
    "ConvGRU",
    "ConvGRUCell",
    "ConvLSTM",
    "ConvLSTMCell",
    "ConvRNN",
    "ConvRNNCell",
    "Flat",
    "Forecaster",
    "detach",
    "forecast",
    "run",
    "step",
]
