"""Torch operations for ``convgru.importers.execute``: apply a layout, differentiably."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convgru.importers.execute import Numbers


class _Torch:
    """``convgru.importers.execute.Numbers``; sums and norms in the parameters' dtype."""

    def permute(self, array: Tensor, axes: Sequence[int]) -> Tensor:
        return array.permute(*axes)

    def concatenate(self, arrays: Sequence[Tensor], axis: int) -> Tensor:
        return torch.cat(list(arrays), axis)

    def zeros(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return like.new_zeros(tuple(shape))

    def widen(self, array: Tensor) -> Tensor:
        return array

    def narrow(self, array: Tensor, like: Tensor) -> Tensor:
        return array


TORCH: Numbers = _Torch()
