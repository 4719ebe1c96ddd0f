"""Drop-in for TopDianyou/BiConvGRU: two stacks, one per direction, concatenated at the top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convgru.spec import Ints, network
from convgru_torch.compat.base import DropIn, arguments_of, check_sequence, convolution, per_layer, states

LAYOUT = "biconvgru"
Size = tuple[int, ...]
"""Height and width."""


class ConvGRUCell(DropIn):
    """The original's cell: h' = (1−z)∘h + z∘n, the reset gate before the convolution.

    Equation: ``convgru.equations.gru_before``.

    Args:
        input_size: height and width, used by ``init_hidden``; the cell takes frames of any size.
        input_dim: number of channels C of the input.
        hidden_dim: number of channels H of the state.
        kernel_size: kernel size of both convolutions; even sizes are supported.
        bias: if False, the convolutions have no bias.

    Parameters: ``conv_gates.weight`` (2H, C+H, kh, kw), the rows of r above those of z, and
    ``.bias``; ``conv_candidate.weight`` (H, C+H, kh, kw) and ``.bias``; at first as nn.Conv2d's.

    Raises:
        ValueError, TypeError: if the arguments describe no cell.

    Source: github.com/TopDianyou/BiConvGRU; Ballas et al. 2015, arXiv:1511.06432.

    Example:
        >>> cell = ConvGRUCell((16, 16), 3, 8, 3)
        >>> h = cell(torch.zeros(2, 3, 16, 16), None)
    """

    def __init__(self, input_size: Size, input_dim: int, hidden_dim: int, kernel_size: Ints, bias: bool = True) -> None:
        super().__init__()
        spec = network("gru", input_dim, hidden_dim, kernel_size, bias=bias)
        self._read_as(LAYOUT, spec, head="forward_gru.cells.0.")
        self.height, self.width = input_size
        self.hidden_dim = hidden_dim
        kernel = spec.layers[0].kernel_size
        self.conv_gates = convolution(input_dim + hidden_dim, 2 * hidden_dim, kernel, bias)
        self.conv_candidate = convolution(input_dim + hidden_dim, hidden_dim, kernel, bias)

    def init_hidden(self, batch_size: int, device: Any = None) -> Tensor:
        """Return zeros of the constructor's ``input_size``, in the parameters' dtype."""
        shape = (batch_size, self.hidden_dim, self.height, self.width)
        return self.conv_gates.weight.new_zeros(shape, device=device)

    def forward(self, x: Tensor, h_prev: Tensor | None = None) -> Tensor:
        """Take one frame (B, C, H, W) and the state, None for zeros; return the new state.

        States are (B, hidden_dim, H, W).

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the
        parameters'.
        """
        h: Tensor = self._run(x, None if h_prev is None else (h_prev,), layout="BCS")[0]
        return h

    def sequence(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run over frames (B, T, C, H, W); return outputs (B, T, H, ...) and the final state.

        The outputs are contiguous.
        """
        y, (final,) = self._run(x, None if h is None else (h,), layout="BTCS")
        return y.contiguous(), final


class ConvGRU(DropIn):
    """The original's stack of layers in one direction.

    Args:
        input_size: height and width; frames of any size are accepted.
        input_dim: number of channels of the input (of a list, the first entry).
        hidden_dim: number of channels of the states, or a list with one for each layer.
        kernel_size: a number or a pair, or a list with one for each layer; even sizes are
            supported.
        num_layers: number of layers.
        batch_first: if True, the input is (B, T, C, H, W) instead of (T, B, C, H, W).
        bias: if False, the convolutions have no bias.
        return_all_layers: if True, outputs and states of all layers are returned instead of the
            last layer's.
        dropout: probability of dropout in training.
        output_size: unless it is ``input_size``, each frame is pooled to this size first (adaptive
            average).
        corrected: keyword only; if True, the quirks listed here are corrected.

    Kept from the original unless ``corrected``:
        - dropout falls on the output of every layer, the last included; ``corrected``: only on what
            another layer reads;
        - the outputs are (B, T, H, ...) even when the input is time first; ``corrected``: they have
            the axes of the input.

    No longer broken: see docs/compat/biconvgru.md. Parameters: ``cells.L.`` and those of
    ``ConvGRUCell``, layer by layer.

    Raises:
        ValueError, TypeError: if the arguments describe no network, or a list does not have
            ``num_layers`` entries.

    Source: github.com/TopDianyou/BiConvGRU; Ballas et al. 2015, arXiv:1511.06432.

    Example:
        >>> model = ConvGRU((64, 64), 3, [32, 64], [3, 5], 2)
        >>> outputs, states = model(torch.zeros(2, 5, 3, 64, 64))
    """

    def __init__(
        self,
        input_size: Size,
        input_dim: int | list[int],
        hidden_dim: int | list[int],
        kernel_size: Ints | list[Ints],
        num_layers: int,
        batch_first: bool = True,
        bias: bool = True,
        return_all_layers: bool = False,
        dropout: float = 0.0,
        output_size: Size | None = None,
        *,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        self.input_dim = per_layer("ConvGRU", "input_dim", input_dim, num_layers)
        self.hidden_dim = per_layer("ConvGRU", "hidden_dim", hidden_dim, num_layers)
        self.kernel_size = per_layer("ConvGRU", "kernel_size", kernel_size, num_layers)
        self.batch_first, self.return_all_layers, self.num_layers = batch_first, return_all_layers, num_layers
        self.corrected = corrected
        pooled = None if output_size is None or output_size == input_size else tuple(output_size)
        self.input_size = pooled or tuple(input_size)
        sizes = (self.input_dim[0], self.hidden_dim, self.kernel_size, num_layers)
        self._read_as(
            LAYOUT, network("gru", *sizes, bias=bias, dropout=dropout, output_size=pooled), head="forward_gru."
        )
        self.downsample = nn.Identity() if pooled is None else nn.AdaptiveAvgPool2d(pooled)
        self.cells = nn.ModuleList(
            ConvGRUCell(self.input_size, layer.in_channels, layer.hidden_channels, layer.kernel_size, bias)
            for layer in self.spec.layers
        )
        self.dropout = nn.Dropout(dropout) if dropout > 0 else nn.Identity()

    def forward(
        self, x: Tensor, hidden_state: Sequence[Tensor | None] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run over a sequence, (B, T, C, H, W), or (T, B, C, H, W) without ``batch_first``.

        ``hidden_state`` holds (B, H, ...) for each layer, None for zeros. Returns the list of
        outputs, each (B, T, H, ...), and the list of final states: of the last layer, or of all.

        Raises ValueError for a shape, or a number of states, that does not fit, TypeError for a
        dtype that is not the parameters'.
        """
        given = states("ConvGRU", "hidden_state", hidden_state, self.num_layers)
        check_sequence("ConvGRU", self.spec, x, "BTCS" if self.batch_first else "TBCS")
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.downsample(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        outputs: list[Tensor] = []
        final: list[Tensor] = []
        for cell, h in zip(self.cells, given, strict=True):
            y, last = cell.sequence(x, h)  # type: ignore[operator]
            x = self.dropout(y) if cell is not self.cells[-1] or not self.corrected else y
            outputs.append(y if self.corrected else x)
            final.append(last)
        if self.corrected and not self.batch_first:
            outputs = [y.transpose(0, 1) for y in outputs]
        first = 0 if self.return_all_layers else -1
        return outputs[first:], final[first:]


class BiConvGRU(DropIn):
    """The original's network: one ``ConvGRU`` over the frames, one over them in reverse.

    Their outputs are concatenated.

    Args:
        bidirectional: if False, there is the forward direction alone.
        **options: ``corrected``, keyword only: if True, the quirks listed here are corrected; and
            the arguments of ``ConvGRU``, for each direction.

    Kept from the original unless ``corrected``:
        - ``return_sequence=False`` returns the frame T−1 of both halves, where the backward half
            has read one frame; ``corrected``: the frame 0 of the backward half, where it has read
            all;
        - ``batch_first=False`` exchanges the first two axes twice, so that the network runs over
            the samples of each frame and not over the frames; with two directions this takes as
            many samples as frames. ``corrected``: it runs over the frames;
        - what ``ConvGRU`` lists.

    No longer broken: see docs/compat/biconvgru.md. Parameters: ``forward_gru.`` and
    ``reverse_gru.``, each with those of ``ConvGRU``.

    Raises:
        ValueError, TypeError: if the arguments describe no network, or a list does not have
            ``num_layers`` entries.

    Source: github.com/TopDianyou/BiConvGRU; Ballas et al. 2015, arXiv:1511.06432.

    Example:
        >>> options = dict(input_dim=3, hidden_dim=[32, 64], kernel_size=[3, 5], num_layers=2)
        >>> options |= dict(dropout=0.2, output_size=(32, 32))
        >>> model = BiConvGRU(input_size=(64, 64), bidirectional=True, **options)
        >>> outputs, (forward, reverse) = model(torch.zeros(2, 5, 3, 64, 64))
    """

    @arguments_of(ConvGRU.__init__)
    def __init__(
        self,
        input_size: Size,
        input_dim: int | list[int],
        hidden_dim: int | list[int],
        kernel_size: Ints | list[Ints],
        num_layers: int,
        bidirectional: bool = True,
        *rest: Any,
        **options: Any,
    ) -> None:
        super().__init__()
        arguments = (input_size, input_dim, hidden_dim, kernel_size, num_layers, *rest)
        self.forward_gru = ConvGRU(*arguments, **options)
        if bidirectional:
            self.reverse_gru = ConvGRU(*arguments, **options)
        self.bidirectional, self.corrected = bidirectional, self.forward_gru.corrected
        spec = replace(self.forward_gru.spec, bidirectional="stack" if bidirectional else None)
        self._read_as(LAYOUT, spec)

    def forward(
        self, x: Tensor, return_sequence: bool = True, hidden_state: Sequence[Any] | None = None
    ) -> tuple[list[Tensor], tuple[list[Tensor], ...]]:
        """Run over a sequence, (B, T, C, H, W), or (T, B, C, H, W) without ``batch_first``.

        ``hidden_state`` holds for each direction what ``ConvGRU`` takes, None for zeros. Returns
        the list of outputs, each (B, T, 2H, ...), or one frame (B, 2H, ...) of each without
        ``return_sequence``; and the final states, a list for each direction.

        Raises ValueError for a shape, or a number of states, that does not fit, TypeError for a
        dtype that is not the parameters'.
        """
        check_sequence("BiConvGRU", self.spec, x, "BTCS" if self.forward_gru.batch_first else "TBCS")
        begin = (None, None) if hidden_state is None else tuple(hidden_state)
        if len(begin) < len(self.spec.directions):
            raise ValueError(f"BiConvGRU hidden_state expected the states of 2 directions, got {len(begin)}")
        axis = 1
        if not self.forward_gru.batch_first:
            axis = 0 if self.corrected else 1
            x = x if self.corrected else self._exchanged(x)
        outputs, final = self.forward_gru(x, begin[0])
        last = [y.select(axis, -1) for y in outputs]
        if not self.bidirectional:
            return (outputs if return_sequence else last), (final,)
        reversed_outputs, reversed_final = self.reverse_gru(x.flip(axis), begin[1])
        backward = [y.flip(axis) for y in reversed_outputs]
        if return_sequence:
            joined = [torch.cat(pair, 2) for pair in zip(outputs, backward, strict=True)]
        else:
            end = 0 if self.corrected else -1
            joined = [torch.cat((f, b.select(axis, end)), 1) for f, b in zip(last, backward, strict=True)]
        return joined, (final, reversed_final)

    def _exchanged(self, x: Tensor) -> Tensor:
        """Exchange time and batch as the original does before ``ConvGRU`` exchanges them again."""
        if self.bidirectional and x.shape[0] != x.shape[1]:
            raise ValueError(
                f"BiConvGRU with batch_first=False expected as many samples as frames, got an input of shape {tuple(x.shape)}: "
                "the original runs over the samples; corrected=True runs over the frames"
            )
        return x.transpose(0, 1)
