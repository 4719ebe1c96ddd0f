"""The twelve networks of pytorch_convolutional_rnn; see ``Network`` and ``RNN``."""

from __future__ import annotations

from convgru_torch.compat.convolutional_rnn import RNN, Network


class Conv1dRNN(RNN):
    """1D convolutional Elman networks; arguments as ``RNN``.

    Equation: ``convgru.equations.rnn``.
    """

    convndim = 1


class Conv1dLSTM(Network):
    """1D convolutional LSTMs without peepholes; arguments as ``Network``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "lstm"
    convndim = 1


class Conv1dPeepholeLSTM(Network):
    """1D convolutional LSTMs with convolutional peepholes; arguments as ``Network``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "peephole"
    convndim = 1


class Conv1dGRU(Network):
    """1D convolutional GRUs, reset after the convolution; arguments as ``Network``.

    Equation: ``convgru.equations.gru_after``.
    """

    kind = "gru"
    convndim = 1


class Conv2dRNN(RNN):
    """2D convolutional Elman networks; arguments as ``RNN``.

    Equation: ``convgru.equations.rnn``.
    """

    convndim = 2


class Conv2dLSTM(Network):
    """2D convolutional LSTMs without peepholes; arguments as ``Network``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "lstm"
    convndim = 2


class Conv2dPeepholeLSTM(Network):
    """2D convolutional LSTMs with convolutional peepholes; arguments as ``Network``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "peephole"
    convndim = 2


class Conv2dGRU(Network):
    """2D convolutional GRUs, reset after the convolution; arguments as ``Network``.

    Equation: ``convgru.equations.gru_after``.
    """

    kind = "gru"
    convndim = 2


class Conv3dRNN(RNN):
    """3D convolutional Elman networks; arguments as ``RNN``.

    Equation: ``convgru.equations.rnn``.
    """

    convndim = 3


class Conv3dLSTM(Network):
    """3D convolutional LSTMs without peepholes; arguments as ``Network``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "lstm"
    convndim = 3


class Conv3dPeepholeLSTM(Network):
    """3D convolutional LSTMs with convolutional peepholes; arguments as ``Network``.

    Equation: ``convgru.equations.lstm``.
    """

    kind = "peephole"
    convndim = 3


class Conv3dGRU(Network):
    """3D convolutional GRUs, reset after the convolution; arguments as ``Network``.

    Equation: ``convgru.equations.gru_after``.
    """

    kind = "gru"
    convndim = 3
