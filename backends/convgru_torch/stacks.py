"""ConvGRU, ConvLSTM and ConvRNN: the stacks that users make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convgru.spec import Ints
from convgru.spec.options import explicit, refuse_unknown
from convgru_torch.options import DEFAULTS, ConvGRUOptions, ConvLSTMOptions, ConvRNNOptions
from convgru_torch.stack_base import Stack

if TYPE_CHECKING:
    from typing import Unpack  # new in 3.11; the room itself also runs on 3.10


@explicit(ConvGRUOptions, DEFAULTS)
class ConvGRU(Stack):
    """A stack of convolutional GRUs (equations: ``convgru.equations.gru_before`` and ``gru_after``).

    A tuple is per dimension, a list per layer, a number for all. Dropout and zoneout act in training mode.

    Args:
        in_channels: channels C of the input.
        hidden_channels: channels H of the hidden state, or a list with one number for each layer.
        kernel_size: of the convolution over the input; even ones are as good as odd ones.
        num_layers: None means the length of the lists given, else 1.
        ndim: spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size, stride, recurrent_stride, dilation, recurrent_dilation, groups, padding, padding_mode, bias, reset,
            activation, recurrent_activation, norm, updates: of each layer, as for ConvGRUCell.
        bidirectional: True or ``layer``: each layer runs both ways and the next sees both (torch.nn.GRU); ``stack``: a whole stack
            forward, a whole stack backward, merged at the top.
        merge: how two directions become one output: ``concat``, ``sum``, ``mean`` or ``mul``.
        dropout: of the output of each layer but the last, a probability.
        recurrent_dropout: of h where it enters U, one mask for all steps (Gal and Ghahramani 2016, arXiv:1512.05287).
        zoneout: how likely a number of the state keeps its old value (Krueger et al. 2017, arXiv:1606.01305); in evaluation the mean.
        output_size: pool each frame to this size first (adaptive average), so that the state has it whatever the frame's.
        batch_first: input and output are (B, T, C, *S) instead of (T, B, C, *S); states are (B, H, *S) either way.
        device, dtype: of the parameters, as everywhere in torch.

    Parameters: ``layers.{l}.fwd.weight_ih`` (3H, C/groups, *k), ``.weight_hh`` (3H, H/groups, *k), ``.bias`` (3H), and for ``after``
    ``.bias_hn`` (H); gates in the order r, z, n; ``layers.{l}.bwd.`` for the second direction; the rest as in ConvGRUCell.

    Raises:
        ValueError, TypeError: for arguments that describe no network, naming the argument.

    Example:
        >>> net = ConvGRU(3, [16, 8], kernel_size=[5, 3])
        >>> y, state = net(torch.zeros(10, 2, 3, 32, 32))
        >>> both = ConvGRU(3, 16, bidirectional=True)
        >>> y, state = both(torch.zeros(10, 2, 3, 32, 32), lengths=[10, 7])
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvGRUOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvGRUOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


@explicit(ConvLSTMOptions, DEFAULTS)
class ConvLSTM(Stack):
    """A stack of convolutional LSTMs (Shi et al. 2015, arXiv:1506.04214; ``convgru.equations.lstm``).

    Arguments as for ConvGRU, without ``reset``, and ``peephole`` and ``state_size`` as for ConvLSTMCell. A state holds a pair (h, c) for
    each layer and direction. Parameters: ``layers.{l}.fwd.`` and those of ConvLSTMCell; gates in the order i, f, g, o.

    Example:
        >>> net = ConvLSTM(3, 16, num_layers=2)
        >>> y, ((h0, c0), (h1, c1)) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvLSTMOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvLSTMOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


@explicit(ConvRNNOptions, DEFAULTS)
class ConvRNN(Stack):
    """A stack of convolutional Elman networks, h' = φ(W*x + U*h + b) (Elman 1990; ``convgru.equations.rnn``).

    Arguments as for ConvGRU, without ``reset``. Parameters: ``layers.{l}.fwd.`` and those of ConvRNNCell.

    Example:
        >>> net = ConvRNN(3, 16, activation="relu")
        >>> y, (h,) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    kind = "rnn"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvRNNOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvRNNOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


STACKS: dict[str, type[Stack]] = {"gru": ConvGRU, "lstm": ConvLSTM, "rnn": ConvRNN}
