"""ConvGRU, ConvLSTM and ConvRNN for Flax NNX: modules, cells for nnx.RNN, and a forecaster."""

from __future__ import annotations

from convgru.registry import explain

try:
    from convgru_flax.arguments import detach
    from convgru_flax.cells import ConvGRUCell, ConvLSTMCell, ConvRNNCell
    from convgru_flax.forecaster import Forecaster
    from convgru_flax.networks import ConvGRU, ConvLSTM, ConvRNN
except ModuleNotFoundError as error:
    raise explain("flax", error) from error

__all__ = ["ConvGRU", "ConvGRUCell", "ConvLSTM", "ConvLSTMCell", "ConvRNN", "ConvRNNCell", "Forecaster", "detach"]
