"""Drop-in for seyongk/Bidirectional-Conv-LSTM-pytorch: change the import line to this module."""

from convgru_torch.compat.bidirectional_conv_lstm import ConvLSTM
from convgru_torch.compat.bidirectional_conv_lstm_cell import ConvLSTMCell

__all__ = ["ConvLSTM", "ConvLSTMCell"]
