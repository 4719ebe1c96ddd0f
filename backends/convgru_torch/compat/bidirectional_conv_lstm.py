"""Drop-in for seyongk/Bidirectional-Conv-LSTM-pytorch: the network and its quirks.

``corrected=True`` corrects them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convgru.spec import Ints, network
from convgru_torch.compat.bidirectional_conv_lstm_cell import ConvLSTMCell, Gated, State, check_geometry, for_all


class ConvLSTM(Gated):
    """The original's network: one ``ConvLSTMCell`` over the frames, one over them in reverse.

    In evaluation the batch norm is folded into the convolutions; in training each step is
    normalised by its own batch, and the running statistics follow step by step, as in the original.

    Args:
        in_channels: number of channels C of the input.
        hidden_channels: number of channels H of the state of each direction.
        kernel_size: a number or a pair; even sizes are supported with padding ``same``.
        padding: kernel_size // 2 or ``same``, which keep the size of the state.
        stride: 1, which keeps the size of the state.
        bias: if False, the convolutions have no bias.
        batch_first: if True, the input is (B, T, C, H, W) instead of (T, B, C, H, W).
        bidirectional: if False, there is the forward direction alone.
        corrected: keyword only; if True, the quirks listed here are corrected.

    Kept from the original unless ``corrected``:
        - the backward half of the output is in reversed time: its frame t belongs to the input's
            frame T−1−t; ``corrected``: to frame t;
        - the states of the directions stand side by side along the width, (B, H, h, 2w);
            ``corrected``: stacked, (2, B, H, h, w);
        - the output is (B, T, ...) even when the input is time first; ``corrected``: it has the
            axes of the input;
        - an input without channels that is time first, (T, B, H, W), is read as if its memory were
            (B, T, H, W), which mixes samples and frames; ``corrected``: its axes are exchanged.

    No longer broken: see docs/compat/bidirectional_conv_lstm.md. Parameters: ``conv_lstm_cells.0.``
    and ``conv_lstm_cells.1.``, each with those of ``ConvLSTMCell``.

    Raises:
        ValueError, TypeError: if the arguments describe no network.

    Source: github.com/seyongk/Bidirectional-Conv-LSTM-pytorch; Shi et al. 2015, arXiv:1506.04214.

    Example:
        >>> sizes = dict(in_channels=1, hidden_channels=64, kernel_size=3, padding=1, stride=1)
        >>> net = ConvLSTM(**sizes, bias=True, batch_first=True, bidirectional=True)
        >>> output, (h, c) = net(torch.zeros(2, 5, 1, 16, 16))
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints,
        padding: Ints | str,
        stride: Ints,
        bias: bool,
        batch_first: bool,
        bidirectional: bool,
        *,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.hidden_channels = in_channels, hidden_channels
        self.batch_first, self.bidirectional, self.corrected = batch_first, bidirectional, corrected
        spec = network("lstm", in_channels, hidden_channels, kernel_size, bidirectional=bidirectional)
        check_geometry("ConvLSTM", spec, padding, stride)
        self._describe(spec, bias)
        self.conv_lstm_cells = nn.ModuleList(
            ConvLSTMCell(in_channels, hidden_channels, kernel_size, padding, stride, bias) for _ in spec.directions
        )

    def forward(self, x: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, State]:
        """Run over a sequence (B, T, C, H, W), or (T, B, C, H, W) without ``batch_first``.

        The axis of one channel may be left out.

        ``state`` is a pair (h, c), as the call returns it; None means zeros. Returns the output,
        (B, T, H, h, w), the channels of the backward direction behind those of the forward one; and
        the final state, as the class says.

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the
        parameters'.
        """
        x = self._batch_first(x)
        y, final = self._outputs(x, None if state is None else self._entries(state, x), "BTCS")
        if self.corrected:
            y = y if self.batch_first else y.transpose(0, 1)
        elif self.bidirectional:
            forward, backward = y.chunk(2, 2)
            y = torch.cat((forward, backward.flip(1)), 2)
        y = y.contiguous()  # as the original's: its users call view
        if not self.bidirectional:
            return y, final[0]
        parts = zip(*final, strict=True)
        h, c = (torch.stack(part) if self.corrected else torch.cat(part, -1) for part in parts)
        return y, (h, c)

    def _batch_first(self, x: Tensor) -> Tensor:
        """Return the input as (B, T, C, H, W)."""
        if not isinstance(x, Tensor):
            raise TypeError(f"ConvLSTM expected an input that is a torch.Tensor, got {type(x).__name__}")
        if x.ndim != 4:
            return x if self.batch_first else x.transpose(0, 1)
        if self.batch_first or self.corrected:
            return (x if self.batch_first else x.transpose(0, 1)).unsqueeze(2)
        time, batch, height, width = x.shape
        return x.reshape(batch, time, 1, height, width)

    def _entries(self, state: Sequence[Tensor], x: Tensor) -> tuple[State, ...]:
        """Return the initial (h, c) of each direction."""
        parts = state if isinstance(state, (tuple, list)) else [state]
        if len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
            kinds = ", ".join(type(part).__name__ for part in parts)
            raise TypeError(f"ConvLSTM expected a state that is a pair (h, c) of tensors, got {kinds}")
        h, c = state
        if not self.bidirectional:
            ways = [(h, c)]
        elif self.corrected:
            ways = list(zip(h, c, strict=False))
        else:
            ways = list(zip(h.chunk(2, -1), c.chunk(2, -1), strict=False))
        return tuple((for_all(own_h, x), for_all(own_c, x)) for own_h, own_c in ways)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any, **named: Any) -> None:
        # The original's calls leave a state of zeros among the buffers, and so in files.
        for name in ("hidden_state", "cell_state"):
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)
