"""PackedSequence: in as torch.nn.GRU takes it, out as torch.nn.GRU gives it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """The padded sequence (T, B, C, *S) and the lengths, both in the order in which the samples were given."""
    x, lengths = pad_packed_sequence(packed)
    return x, lengths


def pack(y: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """A padded sequence (T, B, C, *S), in the order in which the samples were given, packed as ``like`` is."""
    order = like.sorted_indices
    if order is not None:
        y, lengths = y.index_select(1, order), lengths[order.to(lengths.device)]
    sorted_already = pack_padded_sequence(y, lengths, enforce_sorted=True)
    return PackedSequence(sorted_already.data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)


def detach(state: Any) -> Any:
    """The state cut from the graph that made it: what the next part of a sequence starts from in truncated backpropagation.

    Takes what a network or a cell returns, a tensor or tuples of them, and None.

    Example:
        >>> net, state = ConvGRU(3, 8), None
        >>> for part in torch.zeros(100, 2, 3, 16, 16).split(10):
        ...     y, state = net(part, detach(state))
    """
    if isinstance(state, torch.Tensor):
        return state.detach()
    if isinstance(state, (tuple, list)):
        return tuple(map(detach, state))
    if state is None:
        return None
    raise TypeError(f"detach expected a state, a torch.Tensor or a tuple of them, got {type(state).__name__}")
