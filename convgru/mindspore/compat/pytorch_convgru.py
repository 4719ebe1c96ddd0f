"""Drop-in for the MindSpore ports of jacobkimmel/pytorch_convgru: change the import line alone."""

from convgru_mindspore.compat.pytorch_convgru import ConvGRU, ConvGRUCell

__all__ = ["ConvGRU", "ConvGRUCell"]
