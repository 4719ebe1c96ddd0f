"""A drop-in for TopDianyou/BiConvGRU: change its import line to this module, nothing else."""

from convgru_torch.compat.biconvgru import BiConvGRU, ConvGRU, ConvGRUCell

__all__ = ["BiConvGRU", "ConvGRU", "ConvGRUCell"]
