"""Convolutional recurrent networks as nn.Module, on the equations of convgru."""

from convgru_torch.cells import ConvGRUCell, ConvLSTMCell, ConvRNNCell
from convgru_torch.execution import Execution
from convgru_torch.forecast import forecast
from convgru_torch.forecaster import Forecaster
from convgru_torch.functional import detach, run
from convgru_torch.layers import Layer
from convgru_torch.precision import precise
from convgru_torch.stacks import ConvGRU, ConvLSTM, ConvRNN

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
