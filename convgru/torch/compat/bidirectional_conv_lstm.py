"""A drop-in for seyongk/Bidirectional-Conv-LSTM-pytorch: change its import line to this module, nothing else."""

from convgru_torch.compat.bidirectional_conv_lstm import ConvLSTM
from convgru_torch.compat.bidirectional_conv_lstm_cell import ConvLSTMCell

__all__ = ["ConvLSTM", "ConvLSTMCell"]
