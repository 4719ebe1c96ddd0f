"""Drop-in for ndrplz/ConvLSTM_pytorch: change the import line to this module."""

from convgru_torch.compat.convlstm_pytorch import ConvLSTM, ConvLSTMCell

__all__ = ["ConvLSTM", "ConvLSTMCell"]
