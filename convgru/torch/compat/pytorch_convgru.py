"""Drop-in for jacobkimmel/pytorch_convgru: change the import line to this module."""

from convgru_torch.compat.pytorch_convgru import ConvGRU, ConvGRUCell

__all__ = ["ConvGRU", "ConvGRUCell"]
