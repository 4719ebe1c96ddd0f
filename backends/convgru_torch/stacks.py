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
    """A stack of layers over a sequence, each a convolutional GRU.

    A step of a layer is that of ``convgru.equations``::

        r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
        n = φ(W_n*x + b_n + U_n*(r∘h))         reset="before" (Ballas et al. 2015, arXiv:1511.06432)
        n = φ(W_n*x + b_n + r∘(U_n*h + b_hn))  reset="after" (cuDNN, torch.nn.GRU)
        h' = z∘h + (1−z)∘n

    * is cross-correlation, ∘ the elementwise product. A number is for all layers and dimensions, a
      tuple per dimension, a list per layer.

    Args:
        in_channels: channels C of the input.
        hidden_channels: channels H of the hidden state; a list makes one layer for each of its
            numbers.
        kernel_size: size of the kernel over the input, None means 3; even sizes are supported.
        num_layers: number of layers; None means the length of ``hidden_channels`` if it is a list,
            else 1.
        ndim: number of spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size: size of the kernel over h; None means that of ``kernel_size``.
        stride: of the convolution over the input; the state is smaller than the frame by it.
        recurrent_stride: of the convolution over h, which keeps the state's size all the same.
        dilation: of the convolution over the input.
        recurrent_dilation: of the convolution over h; None means that of ``dilation``.
        groups: number of groups of channels, within each gate.
        padding: ``same``, ``valid``, ``preserve`` (the size of the frame at any stride), a number,
            or a tuple with a number or a (low, high) pair for each dimension.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        bias: if False, the layer has no bias.
        reset: ``before`` or ``after`` the recurrent convolution.
        activation: φ: ``tanh``, ``relu``, ``leaky_relu``, ``sigmoid``, ``hard_sigmoid`` or
            ``hard_sigmoid_0.2``.
        recurrent_activation: σ, one of the same.
        norm: group norm of the pre-activations: a number of groups (1 is layer norm), a tuple with
            one number for each normalised tensor (r and z together, n), or a ``convgru.spec.Norm``.
        updates: kernel sizes of several steps in a row on one state, instead of ``kernel_size``:
            ((1, 5), (5, 1)) is RAFT's SepConvGRU.
        bidirectional: True or ``layer``: each layer runs both ways and the next sees both
            (torch.nn.GRU); ``stack``: a whole stack forward, a whole stack backward, merged at the
            top.
        merge: how two directions become one output: ``concat``, ``sum``, ``mean`` or ``mul``.
        dropout: probability, of the output of each layer but the last.
        recurrent_dropout: probability, of h where it enters U, one mask for all steps (Gal and
            Ghahramani 2016, arXiv:1512.05287).
        zoneout: probability that a number of the state keeps its old value (Krueger et al. 2017,
            arXiv:1606.01305), whose mean evaluation takes.
        output_size: adaptive average pooling of each frame to this size first, so that the state
            has it.
        batch_first: if True, input and output are (B, T, C, *S); states are (B, H, *S) either way.
        impl, memory, algorithm, checkpoint_frames, state_dtype, cuda_graphs: how to compute
            (``Execution``).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        - Input: (T, B, C, *S), with ``batch_first`` (B, T, C, *S), a PackedSequence, or unbatched
            (T, C, *S).
        - State: for each layer and direction h (B, H, *S').
        - Output: (T, B, H, *S') of the last layer, with 2H channels where two directions are
            concatenated; and the final state.

    Parameters: those of ``ConvGRUCell`` for each layer and direction, ``layers.0.fwd.weight_ih``,
    ``layers.0.bwd.weight_ih`` and so on; ``layers[l]["fwd"]`` is a ``Layer``, which the stack
    calls.

    Raises:
        ValueError: for arguments that describe no network, naming the argument.
        TypeError: for arguments of another type, and for unknown ones.

    Example:
        >>> net = ConvGRU(3, [16, 8], kernel_size=[5, 3])
        >>> y, state = net(torch.zeros(10, 2, 3, 32, 32))
        >>> both = ConvGRU(3, 16, bidirectional=True)
        >>> y, state = both(torch.zeros(10, 2, 3, 32, 32), lengths=torch.tensor([10, 7]))
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvGRUOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvGRUOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


@explicit(ConvLSTMOptions, DEFAULTS)
class ConvLSTM(Stack):
    """A stack of convolutional LSTMs over a sequence (Shi et al. 2015, arXiv:1506.04214).

    A step of a layer is that of ``convgru.equations``::

        i = σ(W_i*x + U_i*h + P_i·c + b_i)    f = σ(W_f*x + U_f*h + P_f·c + b_f)
        g = φ(W_g*x + U_g*h + b_g)            c' = f∘c + i∘g
        o = σ(W_o*x + U_o*h + P_o·c' + b_o)   h' = o∘φ(c')

    * is cross-correlation, ∘ the elementwise product. A number is for all layers and dimensions, a
      tuple per dimension, a list per layer.

    Args:
        in_channels: channels C of the input.
        hidden_channels: channels H of the hidden state; a list makes one layer for each of its
            numbers.
        kernel_size: size of the kernel over the input, None means 3; even sizes are supported.
        num_layers: number of layers; None means the length of ``hidden_channels`` if it is a list,
            else 1.
        ndim: number of spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size: size of the kernel over h; None means that of ``kernel_size``.
        stride: of the convolution over the input; the state is smaller than the frame by it.
        recurrent_stride: of the convolution over h, which keeps the state's size all the same.
        dilation: of the convolution over the input.
        recurrent_dilation: of the convolution over h; None means that of ``dilation``.
        groups: number of groups of channels, within each gate.
        padding: ``same``, ``valid``, ``preserve`` (the size of the frame at any stride), a number,
            or a tuple with a number or a (low, high) pair for each dimension.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        bias: if False, the layer has no bias.
        peephole: None; ``hadamard``, one weight for each channel, or with ``state_size`` for each
            pixel; ``conv``, a convolution with the geometry of the recurrent one.
        state_size: spatial size of the state that a ``hadamard`` peephole is tied to.
        activation: φ: ``tanh``, ``relu``, ``leaky_relu``, ``sigmoid``, ``hard_sigmoid`` or
            ``hard_sigmoid_0.2``.
        recurrent_activation: σ, one of the same.
        norm: group norm of the pre-activations: a number of groups (1 is layer norm), a tuple with
            one number for each normalised tensor (all four gates together), or a
            ``convgru.spec.Norm``.
        updates: kernel sizes of several steps in a row on one state, instead of ``kernel_size``:
            ((1, 5), (5, 1)) is RAFT's SepConvGRU.
        bidirectional: True or ``layer``: each layer runs both ways and the next sees both
            (torch.nn.GRU); ``stack``: a whole stack forward, a whole stack backward, merged at the
            top.
        merge: how two directions become one output: ``concat``, ``sum``, ``mean`` or ``mul``.
        dropout: probability, of the output of each layer but the last.
        recurrent_dropout: probability, of h where it enters U, one mask for all steps (Gal and
            Ghahramani 2016, arXiv:1512.05287).
        zoneout: probability that a number of the state keeps its old value (Krueger et al. 2017,
            arXiv:1606.01305), whose mean evaluation takes.
        output_size: adaptive average pooling of each frame to this size first, so that the state
            has it.
        batch_first: if True, input and output are (B, T, C, *S); states are (B, H, *S) either way.
        impl, memory, algorithm, checkpoint_frames, state_dtype, cuda_graphs: how to compute
            (``Execution``).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        - Input: (T, B, C, *S), with ``batch_first`` (B, T, C, *S), a PackedSequence, or unbatched
            (T, C, *S).
        - State: for each layer and direction the pair (h, c), each (B, H, *S').
        - Output: (T, B, H, *S') of the last layer, with 2H channels where two directions are
            concatenated; and the final state.

    Parameters: those of ``ConvLSTMCell`` for each layer and direction, ``layers.0.fwd.weight_ih``,
    ``layers.0.bwd.weight_ih`` and so on; ``layers[l]["fwd"]`` is a ``Layer``, which the stack
    calls.

    Raises:
        ValueError: for arguments that describe no network, naming the argument.
        TypeError: for arguments of another type, and for unknown ones.

    Example:
        >>> net = ConvLSTM(3, 16, num_layers=2)
        >>> y, ((h0, c0), (h1, c1)) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvLSTMOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvLSTMOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


@explicit(ConvRNNOptions, DEFAULTS)
class ConvRNN(Stack):
    """A stack of layers over a sequence, each a convolutional Elman network (Elman 1990).

    A step of a layer is that of ``convgru.equations``::

        h' = φ(W*x + U*h + b)

    * is cross-correlation, ∘ the elementwise product. A number is for all layers and dimensions, a
      tuple per dimension, a list per layer.

    Args:
        in_channels: channels C of the input.
        hidden_channels: channels H of the hidden state; a list makes one layer for each of its
            numbers.
        kernel_size: size of the kernel over the input, None means 3; even sizes are supported.
        num_layers: number of layers; None means the length of ``hidden_channels`` if it is a list,
            else 1.
        ndim: number of spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size: size of the kernel over h; None means that of ``kernel_size``.
        stride: of the convolution over the input; the state is smaller than the frame by it.
        recurrent_stride: of the convolution over h, which keeps the state's size all the same.
        dilation: of the convolution over the input.
        recurrent_dilation: of the convolution over h; None means that of ``dilation``.
        groups: number of groups of channels, within each gate.
        padding: ``same``, ``valid``, ``preserve`` (the size of the frame at any stride), a number,
            or a tuple with a number or a (low, high) pair for each dimension.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        bias: if False, the layer has no bias.
        activation: φ: ``tanh``, ``relu``, ``leaky_relu``, ``sigmoid``, ``hard_sigmoid`` or
            ``hard_sigmoid_0.2``.
        recurrent_activation: σ, one of the same.
        norm: group norm of the pre-activations: a number of groups (1 is layer norm), a tuple with
            one number for each normalised tensor (the one there is), or a ``convgru.spec.Norm``.
        updates: kernel sizes of several steps in a row on one state, instead of ``kernel_size``:
            ((1, 5), (5, 1)) is RAFT's SepConvGRU.
        bidirectional: True or ``layer``: each layer runs both ways and the next sees both
            (torch.nn.GRU); ``stack``: a whole stack forward, a whole stack backward, merged at the
            top.
        merge: how two directions become one output: ``concat``, ``sum``, ``mean`` or ``mul``.
        dropout: probability, of the output of each layer but the last.
        recurrent_dropout: probability, of h where it enters U, one mask for all steps (Gal and
            Ghahramani 2016, arXiv:1512.05287).
        zoneout: probability that a number of the state keeps its old value (Krueger et al. 2017,
            arXiv:1606.01305), whose mean evaluation takes.
        output_size: adaptive average pooling of each frame to this size first, so that the state
            has it.
        batch_first: if True, input and output are (B, T, C, *S); states are (B, H, *S) either way.
        impl, memory, algorithm, checkpoint_frames, state_dtype, cuda_graphs: how to compute
            (``Execution``).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        - Input: (T, B, C, *S), with ``batch_first`` (B, T, C, *S), a PackedSequence, or unbatched
            (T, C, *S).
        - State: for each layer and direction h (B, H, *S').
        - Output: (T, B, H, *S') of the last layer, with 2H channels where two directions are
            concatenated; and the final state.

    Parameters: those of ``ConvRNNCell`` for each layer and direction, ``layers.0.fwd.weight_ih``,
    ``layers.0.bwd.weight_ih`` and so on; ``layers[l]["fwd"]`` is a ``Layer``, which the stack
    calls.

    Raises:
        ValueError: for arguments that describe no network, naming the argument.
        TypeError: for arguments of another type, and for unknown ones.

    Example:
        >>> net = ConvRNN(3, 16, activation="relu")
        >>> y, (h,) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    kind = "rnn"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvRNNOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvRNNOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


STACKS: dict[str, type[Stack]] = {"gru": ConvGRU, "lstm": ConvLSTM, "rnn": ConvRNN}
