"""Stacks of layers over a sequence of frames: ConvGRU, ConvLSTM, ConvRNN."""

from __future__ import annotations

from typing import Unpack

from convgru.spec import Ints, network
from convgru_mindspore.options import (
    DEFAULTS,
    ConvGRUOptions,
    ConvLSTMOptions,
    ConvRNNOptions,
    explicit,
    split_options,
)
from convgru_mindspore.stack_base import Stack


@explicit(ConvGRUOptions, DEFAULTS)
class ConvGRU(Stack):
    r"""Convolutional GRU over a sequence (Ballas et al. 2015, arXiv:1511.06432), layer by layer.

    .. math::
        r = σ(W_r*x + U_r*h + b_r), \quad z = σ(W_z*x + U_z*h + b_z), \\
        n = φ(W_n*x + b_n + U_n*(r∘h)), \quad h' = z∘h + (1−z)∘n

    With ``reset="after"``, as in cuDNN, :math:`n = φ(W_n*x + b_n + r∘(U_n*h + b_{hn}))`. See
    ``convgru.equations``. Each layer and direction is a cell, ``net.layers[0].fwd``, that holds its
    parameters and runs the sequence.

    Args:
        in_channels (int): Channels of the frames.
        hidden_channels (Union[int, list[int]]): Channels of the state; a list is per layer.
        kernel_size (Union[int, tuple[int], list]): A tuple is per dimension, a list per layer.
            Default: ``None`` , for 3.
        num_layers (int): Default: ``None`` , the length of a list of hidden_channels, else 1.
        ndim (int): 1, 2 or 3 spatial dimensions. Default: ``2`` .
        recurrent_kernel_size, recurrent_dilation: Of the recurrent convolution. Default: ``None`` ,
            as the input's.
        stride, recurrent_stride, dilation: Of the two convolutions. Default: ``1`` .
        groups (int): Each gate's convolutions are grouped by themselves. Default: ``1`` .
        padding (Union[str, int, tuple]): Of the input convolution: ``same`` , ``valid`` ,
            ``preserve`` , a number, or for each dimension a number or a pair (low, high). Default:
            ``'same'`` .
        padding_mode (str): ``zeros`` , ``reflect`` , ``replicate`` or ``circular`` . Default:
            ``'zeros'`` .
        has_bias (bool): If False, the layers have no bias. Default: ``True`` .
        reset (str): ``before`` or ``after`` the recurrent convolution. Default: ``'before'`` .
        activation (str): Of n, one of ``convgru.spec.ACTIVATIONS``. Default: ``'tanh'`` .
        recurrent_activation (str): Of r and z. Default: ``'sigmoid'`` .
        norm (Union[int, tuple, Norm]): Groups of a group norm of the pre-activations; 1 is layer
            norm. Default: ``None`` .
        updates (tuple): Kernel sizes of several steps in a row on one state (RAFT's SepConvGRU).
            Default: ``()`` .
        bidirectional (Union[bool, str]): True or ``layer`` : each layer runs both ways; ``stack`` :
            two whole stacks. Default: ``None`` .
        merge (str): Of both directions: ``concat`` , ``sum`` , ``mean`` or ``mul`` . Default:
            ``'concat'`` .
        dropout, recurrent_dropout, zoneout (float): Probabilities, at work after ``set_train()`` .
            Default: ``0.0`` .
        output_size (Union[int, tuple[int]]): Size to which the input is pooled. Default: ``None`` .
        batch_first (bool): Whether x and output are (B, T, ...). Default: ``False`` .
        impl (str): How the loop over time runs in a graph: ``readable`` unrolls it, ``fast`` makes
            it one operation with a gradient of its own, which compiles once for all lengths, and
            raises in PyNative mode, ``auto`` takes that for more than four frames and for free
            shapes. Default: ``'auto'`` .
        dtype (mindspore.dtype): Of the parameters: float32, float16 or float64. Default:
            ``mindspore.float32`` .

    Inputs:
        - **x** (Tensor) - (T, B, C, *S), of the parameters' dtype.
        - **state** (tuple[Tensor]) - For each layer and direction, forward first, h (B, H, *S).
            Default: ``None`` , zeros.
        - **seq_length** (Union[Tensor, list[int]]) - The valid frames of each sample. What lies
            past them is not read, its output is zero, and the backward direction starts at the last
            valid frame. Default: ``None`` .
        - **context** (tuple[Tensor]) - For each entry of the state (B, G·H, *S), or one for each
            frame, in the layout of x, added to the pre-activations. Default: ``None`` .
        - **masks** (dict[str, Tensor]) - Masks of dropout and zoneout by the names and shapes of
            ``convgru.spec.shapes.mask_shapes``, time first, instead of random ones. Default:
            ``None`` .
        - **return_all_layers** (bool) - Return a tuple with every layer's output. Default:
            ``False`` .
        - **last_only** (bool) - Return each sample's last valid output alone. Default: ``False`` .

    Outputs:
        The top layer's h for every frame, (T, B, H, *S), or (B, H, *S) with `last_only`; and the
        final state.

    Raises:
        ValueError: If a size or an option does not fit.
        TypeError: If an argument is of the wrong kind or dtype.
        UnsupportedError: If `dtype` is bfloat16, which does not compute on CPU, or the batch is
            empty.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> net = ConvGRU(3, [16, 8])
        >>> y, state = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
        >>> y, state = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32), state, seq_length=[4, 2])
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
        super().__init__()
        spec_options, module_options = split_options("ConvGRU", dict(options), ConvGRUOptions)
        spec = network("gru", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **spec_options)
        self._set_spec(spec, None, **module_options)


@explicit(ConvLSTMOptions, DEFAULTS)
class ConvLSTM(Stack):
    r"""Convolutional LSTM over a sequence (Shi et al. 2015, arXiv:1506.04214), one or more layers.

    .. math::
        i, f = σ(W*x + U*h + P∘c + b), \quad g = φ(W_g*x + U_g*h + b_g), \\
        c' = f∘c + i∘g, \quad o = σ(W_o*x + U_o*h + P_o∘c' + b_o), \quad h' = o∘φ(c')

    Args, Inputs, Outputs and errors as for :class:`ConvGRU`, but for `reset`; the state has a pair
    (h, c) for each layer and direction.

    Args:
        peephole (str): ``hadamard`` (one weight for each channel, or with `state_size` for each
            pixel) or ``conv`` . Default: ``None`` .
        state_size (Union[int, tuple[int], list]): Pixels of the state, for ``hadamard`` . Default:
            ``None`` .

    Supported Platforms:
        ``CPU``

    Examples:
        >>> net = ConvLSTM(3, 8)
        >>> y, ((h, c),) = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
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
        super().__init__()
        spec_options, module_options = split_options("ConvLSTM", dict(options), ConvLSTMOptions)
        spec = network("lstm", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **spec_options)
        self._set_spec(spec, None, **module_options)


@explicit(ConvRNNOptions, DEFAULTS)
class ConvRNN(Stack):
    r"""Convolutional form of Elman's network (1990) over a sequence, one or more layers.

    .. math:: h' = φ(W*x + U*h + b)

    Args, Inputs, Outputs and errors as for :class:`ConvGRU`, but for `reset`.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> net = ConvRNN(3, 8, activation="relu")
        >>> y, (h,) = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
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
        super().__init__()
        spec_options, module_options = split_options("ConvRNN", dict(options), ConvRNNOptions)
        spec = network("rnn", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **spec_options)
        self._set_spec(spec, None, **module_options)


STACKS: dict[str, type[Stack]] = {"gru": ConvGRU, "lstm": ConvLSTM, "rnn": ConvRNN}
