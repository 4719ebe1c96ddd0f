"""The twelve cells of pytorch_convolutional_rnn by name: one call takes one frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from convgru_torch.compat.base import arguments_of
from convgru_torch.compat.convolutional_rnn import Recurrent, Sizes


class Bare(Recurrent):
    """One layer that takes one frame a call; ``Cell`` and ``RNNCell`` document it."""

    ending = "_cell"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        nonlinearity: str = "tanh",
        bias: bool = True,
        stride: Sizes = 1,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> None:
        sizes = (in_channels, out_channels, kernel_size, 1)
        super().__init__(sizes, bias, groups, nonlinearity, stride=stride, dilation=dilation)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Take one frame (B, C, *S) and the state (B, H, *S), a pair (h, c) for an LSTM, None for
        zeros; returns the new state.

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the
        parameters'.
        """
        given = None if hx is None else (tuple(hx) if self.spec.cell == "lstm" else hx,)
        return self._run(input, given, layout="BCS")[1][0]


class Cell(Bare):
    """One layer that takes one frame a call.

    Args:
        in_channels: number of channels C of the input.
        out_channels: number of channels H of the state.
        kernel_size: a number, or one for each spatial dimension; even sizes are supported.
        bias: if False, the convolutions have no bias.
        stride: of all convolutions, a number, or one for each spatial dimension.
        dilation: of all convolutions, a number, or one for each spatial dimension.
        groups: of all convolutions; they cut across the gates.

    Parameters: those of ``Recurrent``, with no ending. The original has no quirks, and so this no
    ``corrected``.

    Raises:
        ValueError, TypeError: if the arguments describe no cell.

    Source: github.com/kamo-naoyuki/pytorch_convolutional_rnn.

    Example:
        >>> cell, hx = Conv2dLSTMCell(3, 5, 3), None
        >>> for frame in torch.zeros(6, 16, 3, 10, 10):
        ...     hx = cell(frame, hx)
    """

    @arguments_of(Bare.__init__, without="nonlinearity")
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sizes, *rest: Any, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, "tanh", *rest, **options)


class RNNCell(Bare):
    """h' = φ(W*x + U*h + b), φ being ``nonlinearity`` (``tanh`` or ``relu``); otherwise as
    ``Cell``.
    """

    kind = "rnn"


class Conv1dRNNCell(RNNCell):
    """A convolutional Elman cell (``convgru.equations.rnn``) in one dimension; arguments as
    ``RNNCell``.
    """

    convndim = 1


class Conv1dLSTMCell(Cell):
    """A convolutional LSTM cell without peepholes (``convgru.equations.lstm``) in one dimension;
    arguments as ``Cell``.
    """

    kind = "lstm"
    convndim = 1


class Conv1dPeepholeLSTMCell(Cell):
    """A convolutional LSTM cell whose peepholes are convolutions (``convgru.equations.lstm``) in
    one dimension; arguments as ``Cell``.
    """

    kind = "peephole"
    convndim = 1


class Conv1dGRUCell(Cell):
    """A convolutional GRU cell, the reset gate after the convolution
    (``convgru.equations.gru_after``) in one dimension; arguments as ``Cell``.
    """

    kind = "gru"
    convndim = 1


class Conv2dRNNCell(RNNCell):
    """A convolutional Elman cell (``convgru.equations.rnn``) in two dimensions; arguments as
    ``RNNCell``.
    """

    convndim = 2


class Conv2dLSTMCell(Cell):
    """A convolutional LSTM cell without peepholes (``convgru.equations.lstm``) in two dimensions;
    arguments as ``Cell``.
    """

    kind = "lstm"
    convndim = 2


class Conv2dPeepholeLSTMCell(Cell):
    """A convolutional LSTM cell whose peepholes are convolutions (``convgru.equations.lstm``) in
    two dimensions; arguments as ``Cell``.
    """

    kind = "peephole"
    convndim = 2


class Conv2dGRUCell(Cell):
    """A convolutional GRU cell, the reset gate after the convolution
    (``convgru.equations.gru_after``) in two dimensions; arguments as ``Cell``.
    """

    kind = "gru"
    convndim = 2


class Conv3dRNNCell(RNNCell):
    """A convolutional Elman cell (``convgru.equations.rnn``) in three dimensions; arguments as
    ``RNNCell``.
    """

    convndim = 3


class Conv3dLSTMCell(Cell):
    """A convolutional LSTM cell without peepholes (``convgru.equations.lstm``) in three dimensions;
    arguments as ``Cell``.
    """

    kind = "lstm"
    convndim = 3


class Conv3dPeepholeLSTMCell(Cell):
    """A convolutional LSTM cell whose peepholes are convolutions (``convgru.equations.lstm``) in
    three dimensions; arguments as ``Cell``.
    """

    kind = "peephole"
    convndim = 3


class Conv3dGRUCell(Cell):
    """A convolutional GRU cell, the reset gate after the convolution
    (``convgru.equations.gru_after``) in three dimensions; arguments as ``Cell``.
    """

    kind = "gru"
    convndim = 3
