"""Convert a PackedSequence to a padded sequence and back, in the form of torch.nn.GRU."""

from __future__ import annotations

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Unpack to a padded (T, B, C, *S) and lengths, in the order in which samples were given."""
    x, lengths = pad_packed_sequence(packed)
    return x, lengths


def pack(y: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """Pack a padded (T, B, C, *S), in the order in which samples were given, as ``like`` is."""
    order = like.sorted_indices
    if order is not None:
        y, lengths = y.index_select(1, order), lengths[order.to(lengths.device)]
    sorted_already = pack_padded_sequence(y, lengths, enforce_sorted=True)
    return PackedSequence(sorted_already.data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)
