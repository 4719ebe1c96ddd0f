"""The twelve cells of pytorch_convolutional_rnn, by its names: one call is one frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from convgru_torch.compat.convolutional_rnn import Recurrent, Sizes, check_nonlinearity


class Bare(Recurrent):
    """One layer, fed frame by frame: the call; ``Cell`` and ``RNNCell`` have the arguments."""

    ending = "_cell"

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Take one frame (B, C, *S) and the state (B, H, *S), a pair (h, c) for an LSTM, None for zeros; returns the new state.

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the parameters'.
        """
        given = None if hx is None else (tuple(hx) if self.spec.cell == "lstm" else hx,)
        return self._run(input, given, layout="BCS")[1][0]


class Cell(Bare):
    """One layer, fed frame by frame.

    Args:
        in_channels: channels C of the input.
        out_channels: channels H of the state.
        kernel_size, stride, dilation: of all convolutions, a number, or one for each spatial dimension; even kernels too.
        bias: whether the convolutions add one.
        groups: of all convolutions; they cut across the gates.

    Parameters: those of ``Recurrent``, with no ending. Its numbers are right, so that there is no ``corrected``.

    Raises:
        ValueError, TypeError: for arguments that describe no cell.

    Source: github.com/kamo-naoyuki/pytorch_convolutional_rnn.

    Example:
        >>> cell, hx = Conv2dLSTMCell(3, 5, 3), None
        >>> for frame in torch.zeros(6, 16, 3, 10, 10):
        ...     hx = cell(frame, hx)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        bias: bool = True,
        stride: Sizes = 1,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> None:
        super().__init__((in_channels, out_channels, kernel_size, 1), bias, groups, stride=stride, dilation=dilation)


class RNNCell(Bare):
    """h' = φ(W*x + U*h + b), φ being ``nonlinearity``, the fourth argument; all else as in ``Cell``."""

    kind = "rnn"

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
        check_nonlinearity(type(self).__name__, nonlinearity)
        choices: dict[str, Any] = {"stride": stride, "dilation": dilation, "nonlinearity": nonlinearity}
        super().__init__((in_channels, out_channels, kernel_size, 1), bias, groups, **choices)


class Conv1dRNNCell(RNNCell):
    """A convolutional Elman cell (``convgru.equations.rnn``) in one dimension; arguments as ``RNNCell``."""

    convndim = 1


class Conv1dLSTMCell(Cell):
    """A convolutional LSTM cell without peepholes (``convgru.equations.lstm``) in one dimension; arguments as ``Cell``."""

    kind = "lstm"
    convndim = 1


class Conv1dPeepholeLSTMCell(Cell):
    """A convolutional LSTM cell whose peepholes are convolutions (``convgru.equations.lstm``) in one dimension; arguments as ``Cell``."""

    kind = "peephole"
    convndim = 1


class Conv1dGRUCell(Cell):
    """A convolutional GRU cell, the reset gate after the convolution (``convgru.equations.gru_after``) in one dimension; arguments as ``Cell``."""

    kind = "gru"
    convndim = 1


class Conv2dRNNCell(RNNCell):
    """A convolutional Elman cell (``convgru.equations.rnn``) in two dimensions; arguments as ``RNNCell``."""

    convndim = 2


class Conv2dLSTMCell(Cell):
    """A convolutional LSTM cell without peepholes (``convgru.equations.lstm``) in two dimensions; arguments as ``Cell``."""

    kind = "lstm"
    convndim = 2


class Conv2dPeepholeLSTMCell(Cell):
    """A convolutional LSTM cell whose peepholes are convolutions (``convgru.equations.lstm``) in two dimensions; arguments as ``Cell``."""

    kind = "peephole"
    convndim = 2


class Conv2dGRUCell(Cell):
    """A convolutional GRU cell, the reset gate after the convolution (``convgru.equations.gru_after``) in two dimensions; arguments as ``Cell``."""

    kind = "gru"
    convndim = 2


class Conv3dRNNCell(RNNCell):
    """A convolutional Elman cell (``convgru.equations.rnn``) in three dimensions; arguments as ``RNNCell``."""

    convndim = 3


class Conv3dLSTMCell(Cell):
    """A convolutional LSTM cell without peepholes (``convgru.equations.lstm``) in three dimensions; arguments as ``Cell``."""

    kind = "lstm"
    convndim = 3


class Conv3dPeepholeLSTMCell(Cell):
    """A convolutional LSTM cell whose peepholes are convolutions (``convgru.equations.lstm``) in three dimensions; arguments as ``Cell``."""

    kind = "peephole"
    convndim = 3


class Conv3dGRUCell(Cell):
    """A convolutional GRU cell, the reset gate after the convolution (``convgru.equations.gru_after``) in three dimensions; arguments as ``Cell``."""

    kind = "gru"
    convndim = 3
