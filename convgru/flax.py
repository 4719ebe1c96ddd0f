"""ConvGRU, ConvLSTM and ConvRNN for Flax NNX: modules, cells for nnx.RNN, and a forecaster."""

from __future__ import annotations

from convgru.registry import explain

try:
    from convgru_flax.cells import ConvGRUCell, ConvLSTMCell, ConvRNNCell
    from convgru_flax.forecaster import Forecaster
    from convgru_flax.stacks import ConvGRU, ConvLSTM, ConvRNN
    from convgru_jax.functional import detach
except ModuleNotFoundError as error:
    raise explain("flax", error) from error

__all__ = ["ConvGRU", "ConvGRUCell", "ConvLSTM", "ConvLSTMCell", "ConvRNN", "ConvRNNCell", "Forecaster", "detach"]
