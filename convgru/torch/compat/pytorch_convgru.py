"""A drop-in for jacobkimmel/pytorch_convgru: change its import line to this module, nothing else."""

from convgru_torch.compat.pytorch_convgru import ConvGRU, ConvGRUCell

__all__ = ["ConvGRU", "ConvGRUCell"]
