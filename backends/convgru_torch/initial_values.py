"""Draw the initial values of parameters from torch's generator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn

from convgru.initialization import Recipe, cell_recipe
from convgru.spec import CellSpec
from convgru.spec.shapes import cell_parameter_shapes


def parameter(module: nn.Module, name: str) -> Tensor:
    """Look up a parameter, or the tensor that replaces it, by its short name.

    ``updates.0.weight_ih`` is such a name.
    """
    array: Tensor = reduce(getattr, name.split("."), module)  # type: ignore[assignment]
    return array


@torch.no_grad()
def initialise(module: nn.Module, cell: CellSpec) -> None:
    """Fill one layer's parameters as ``LayerModule.reset_parameters`` says."""
    for name in cell_parameter_shapes(cell):
        tensor, recipe = parameter(module, name), cell_recipe(cell, name.rpartition(".")[2])
        if not tensor.is_meta:
            fill(tensor, partial(_follow, recipe))


@torch.no_grad()
def fill(tensor: Any, write: Callable[[Tensor], object]) -> None:
    """Let ``write`` fill a tensor in place.

    Of a DTensor, whose chunks are copies, it fills a whole tensor in each process; all take their
    shards from that of the mesh's first.
    """
    if not hasattr(tensor, "placements"):
        write(tensor)
        return
    from torch.distributed.tensor import distribute_tensor  # imported already by whoever made the DTensor

    whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.to_local().device)
    write(whole)
    tensor.copy_(distribute_tensor(whole, tensor.device_mesh, tensor.placements))


def _follow(recipe: Recipe, tensor: Tensor) -> None:
    """Fill a plain tensor as its recipe says."""
    if recipe.kind == "constant":
        tensor.fill_(recipe.value)
        if recipe.rows is not None:
            start, stop, value = recipe.rows
            tensor[start:stop] = value
        return
    for block in tensor.chunk(recipe.blocks):
        if recipe.kind == "glorot":
            nn.init.xavier_uniform_(block)
        else:  # QR is not there for half precision.
            wide = block if block.dtype == torch.float64 else block.float()
            block.copy_(nn.init.orthogonal_(torch.empty_like(wide, memory_format=torch.contiguous_format)))
