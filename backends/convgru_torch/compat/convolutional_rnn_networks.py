"""The twelve networks of pytorch_convolutional_rnn by name; arguments and calls are those of
``Network`` and ``RNN``.
"""

from __future__ import annotations

from convgru_torch.compat.convolutional_rnn import RNN, Network


class Conv1dRNN(RNN):
    """Convolutional Elman networks (``convgru.equations.rnn``) in one dimension; arguments as
    ``RNN``.
    """

    convndim = 1


class Conv1dLSTM(Network):
    """Convolutional LSTMs without peepholes (``convgru.equations.lstm``) in one dimension;
    arguments as ``Network``.
    """

    kind = "lstm"
    convndim = 1


class Conv1dPeepholeLSTM(Network):
    """Convolutional LSTMs whose peepholes are convolutions (``convgru.equations.lstm``) in one
    dimension; arguments as ``Network``.
    """

    kind = "peephole"
    convndim = 1


class Conv1dGRU(Network):
    """Convolutional GRUs, the reset gate after the convolution (``convgru.equations.gru_after``) in
    one dimension; arguments as ``Network``.
    """

    kind = "gru"
    convndim = 1


class Conv2dRNN(RNN):
    """Convolutional Elman networks (``convgru.equations.rnn``) in two dimensions; arguments as
    ``RNN``.
    """

    convndim = 2


class Conv2dLSTM(Network):
    """Convolutional LSTMs without peepholes (``convgru.equations.lstm``) in two dimensions;
    arguments as ``Network``.
    """

    kind = "lstm"
    convndim = 2


class Conv2dPeepholeLSTM(Network):
    """Convolutional LSTMs whose peepholes are convolutions (``convgru.equations.lstm``) in two
    dimensions; arguments as ``Network``.
    """

    kind = "peephole"
    convndim = 2


class Conv2dGRU(Network):
    """Convolutional GRUs, the reset gate after the convolution (``convgru.equations.gru_after``) in
    two dimensions; arguments as ``Network``.
    """

    kind = "gru"
    convndim = 2


class Conv3dRNN(RNN):
    """Convolutional Elman networks (``convgru.equations.rnn``) in three dimensions; arguments as
    ``RNN``.
    """

    convndim = 3


class Conv3dLSTM(Network):
    """Convolutional LSTMs without peepholes (``convgru.equations.lstm``) in three dimensions;
    arguments as ``Network``.
    """

    kind = "lstm"
    convndim = 3


class Conv3dPeepholeLSTM(Network):
    """Convolutional LSTMs whose peepholes are convolutions (``convgru.equations.lstm``) in three
    dimensions; arguments as ``Network``.
    """

    kind = "peephole"
    convndim = 3


class Conv3dGRU(Network):
    """Convolutional GRUs, the reset gate after the convolution (``convgru.equations.gru_after``) in
    three dimensions; arguments as ``Network``.
    """

    kind = "gru"
    convndim = 3
