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
        """Take one frame (B, C, *S) and the state, None for zeros; return the new state.

        The state is (B, H, *S), or a pair (h, c) for an LSTM.

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
    """h' = φ(W*x + U*h + b); φ is ``nonlinearity``, ``tanh`` or ``relu``.

    Otherwise as ``Cell``.
    """

    kind = "rnn"


class Conv1dRNNCell(RNNCell):
    """A 1D convolutional Elman cell; arguments as ``RNNCell``.

    Equation: ``convgru.equations.rnn``.
    """

    convndim = 1


class Conv1dLSTMCell(Cell):
    """A 1D convolutional LSTM cell without peepholes; arguments as ``Cell``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "lstm"
    convndim = 1


class Conv1dPeepholeLSTMCell(Cell):
    """A 1D convolutional LSTM cell with convolutional peepholes; arguments as ``Cell``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "peephole"
    convndim = 1


class Conv1dGRUCell(Cell):
    """A 1D convolutional GRU cell, reset after the convolution; arguments as ``Cell``.

    Equation: ``convgru.equations.gru_after``.
    """

    kind = "gru"
    convndim = 1


class Conv2dRNNCell(RNNCell):
    """A 2D convolutional Elman cell; arguments as ``RNNCell``.

    Equation: ``convgru.equations.rnn``.
    """

    convndim = 2


class Conv2dLSTMCell(Cell):
    """A 2D convolutional LSTM cell without peepholes; arguments as ``Cell``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "lstm"
    convndim = 2


class Conv2dPeepholeLSTMCell(Cell):
    """A 2D convolutional LSTM cell with convolutional peepholes; arguments as ``Cell``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "peephole"
    convndim = 2


class Conv2dGRUCell(Cell):
    """A 2D convolutional GRU cell, reset after the convolution; arguments as ``Cell``.

    Equation: ``convgru.equations.gru_after``.
    """

    kind = "gru"
    convndim = 2


class Conv3dRNNCell(RNNCell):
    """A 3D convolutional Elman cell; arguments as ``RNNCell``.

    Equation: ``convgru.equations.rnn``.
    """

    convndim = 3


class Conv3dLSTMCell(Cell):
    """A 3D convolutional LSTM cell without peepholes; arguments as ``Cell``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "lstm"
    convndim = 3


class Conv3dPeepholeLSTMCell(Cell):
    """A 3D convolutional LSTM cell with convolutional peepholes; arguments as ``Cell``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "peephole"
    convndim = 3


class Conv3dGRUCell(Cell):
    """A 3D convolutional GRU cell, reset after the convolution; arguments as ``Cell``.

    Equation: ``convgru.equations.gru_after``.
    """

    kind = "gru"
    convndim = 3
