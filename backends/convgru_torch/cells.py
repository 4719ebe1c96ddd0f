"""ConvGRUCell, ConvLSTMCell and ConvRNNCell: one layer, one frame a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convgru.spec import Ints
from convgru.spec.options import explicit, refuse_unknown
from convgru_torch.cell_base import Cell
from convgru_torch.options import DEFAULTS, GRUCellOptions, LSTMCellOptions, RNNCellOptions

if TYPE_CHECKING:
    from typing import Unpack  # new in 3.11; the room itself also runs on 3.10


@explicit(GRUCellOptions, DEFAULTS)
class ConvGRUCell(Cell):
    """A convolutional GRU that takes one frame a call.

    The step is that of ``convgru.equations``::

        r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
        n = φ(W_n*x + b_n + U_n*(r∘h))         reset="before" (Ballas et al. 2015, arXiv:1511.06432)
        n = φ(W_n*x + b_n + r∘(U_n*h + b_hn))  reset="after" (cuDNN, torch.nn.GRU)
        h' = z∘h + (1−z)∘n

    * is cross-correlation, ∘ the elementwise product.

    Args:
        in_channels: channels C of a frame.
        hidden_channels: channels H of the hidden state.
        kernel_size: size of the kernel over the input, a number or one for each dimension; None
            means 3. Even sizes are supported.
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
        impl, memory, algorithm, checkpoint_frames, state_dtype, cuda_graphs: how to compute
            (``Execution``).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        - Input: (B, C, *S), or unbatched (C, *S).
        - State: h (B, H, *S'); S' is S unless stride or padding change it.
        - Output of the call: the new state. ``step`` returns the pair (h', new state).

    Parameters: weight_ih (3H, C/groups, *k), weight_hh (3H, H/groups, *k), bias (3H), with
    ``reset="after"`` bias_hn (H); with ``norm`` norm_weight and norm_bias (3H); with ``updates``
    updates.0.weight_ih and so on; gates in the order r, z, n.

    Raises:
        ValueError: for arguments that describe no cell, naming the argument.
        TypeError: for arguments of another type, and for unknown ones.

    Example:
        >>> cell = ConvGRUCell(3, 8)
        >>> h = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[GRUCellOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, GRUCellOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, ndim, **options)


@explicit(LSTMCellOptions, DEFAULTS)
class ConvLSTMCell(Cell):
    """A convolutional LSTM (Shi et al. 2015, arXiv:1506.04214) that takes one frame a call.

    The step is that of ``convgru.equations``::

        i = σ(W_i*x + U_i*h + P_i·c + b_i)    f = σ(W_f*x + U_f*h + P_f·c + b_f)
        g = φ(W_g*x + U_g*h + b_g)            c' = f∘c + i∘g
        o = σ(W_o*x + U_o*h + P_o·c' + b_o)   h' = o∘φ(c')

    * is cross-correlation, ∘ the elementwise product.

    Args:
        in_channels: channels C of a frame.
        hidden_channels: channels H of the hidden state.
        kernel_size: size of the kernel over the input, a number or one for each dimension; None
            means 3. Even sizes are supported.
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
        impl, memory, algorithm, checkpoint_frames, state_dtype, cuda_graphs: how to compute
            (``Execution``).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        - Input: (B, C, *S), or unbatched (C, *S).
        - State: the pair (h, c), each (B, H, *S'); S' is S unless stride or padding change it.
        - Output of the call: the new state. ``step`` returns the pair (h', new state).

    Parameters: weight_ih (4H, C/groups, *k), weight_hh (4H, H/groups, *k), bias (4H), with a
    peephole peephole_i, peephole_f, peephole_o (H, *state_size), (H, 1, …) or (H, H/groups, *k);
    with ``norm`` norm_weight and norm_bias (4H); with ``updates`` updates.0.weight_ih and so on;
    gates in the order i, f, g, o.

    Raises:
        ValueError: for arguments that describe no cell, naming the argument.
        TypeError: for arguments of another type, and for unknown ones.

    Example:
        >>> cell = ConvLSTMCell(3, 8, peephole="hadamard")
        >>> h, c = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[LSTMCellOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, LSTMCellOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, ndim, **options)


@explicit(RNNCellOptions, DEFAULTS)
class ConvRNNCell(Cell):
    """A convolutional Elman network (Elman 1990) that takes one frame a call.

    The step is that of ``convgru.equations``::

        h' = φ(W*x + U*h + b)

    * is cross-correlation, ∘ the elementwise product.

    Args:
        in_channels: channels C of a frame.
        hidden_channels: channels H of the hidden state.
        kernel_size: size of the kernel over the input, a number or one for each dimension; None
            means 3. Even sizes are supported.
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
        impl, memory, algorithm, checkpoint_frames, state_dtype, cuda_graphs: how to compute
            (``Execution``).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        - Input: (B, C, *S), or unbatched (C, *S).
        - State: h (B, H, *S'); S' is S unless stride or padding change it.
        - Output of the call: the new state. ``step`` returns the pair (h', new state).

    Parameters: weight_ih (H, C/groups, *k), weight_hh (H, H/groups, *k), bias (H);
    with ``norm`` norm_weight and norm_bias (H); with ``updates`` updates.0.weight_ih and so on.

    Raises:
        ValueError: for arguments that describe no cell, naming the argument.
        TypeError: for arguments of another type, and for unknown ones.

    Example:
        >>> cell = ConvRNNCell(3, 8, activation="relu")
        >>> h = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "rnn"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[RNNCellOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, RNNCellOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, ndim, **options)
