"""Drop-in for TopDianyou/BiConvGRU: change the import line to this module."""

from convgru_torch.compat.biconvgru import BiConvGRU, ConvGRU, ConvGRUCell

__all__ = ["BiConvGRU", "ConvGRU", "ConvGRUCell"]
