"""A drop-in for the MindSpore ports of jacobkimmel/pytorch_convgru: change their import line to
this module, nothing else.
"""

from convgru_mindspore.compat.pytorch_convgru import ConvGRU, ConvGRUCell

__all__ = ["ConvGRU", "ConvGRUCell"]
