"""A drop-in for ndrplz/ConvLSTM_pytorch: change its import line to this module, nothing else."""

from convgru_torch.compat.convlstm_pytorch import ConvLSTM, ConvLSTMCell

__all__ = ["ConvLSTM", "ConvLSTMCell"]
