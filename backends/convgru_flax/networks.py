"""The public networks: ConvGRU, ConvLSTM and ConvRNN."""

from __future__ import annotations

from typing import Any

from convgru.spec import NetworkSpec
from convgru_flax import arguments
from convgru_flax.arguments import Arrays
from convgru_flax.stacks import ConvStack, Filled


class ConvGRU(ConvStack):
    """Layers of convolutional GRUs (Ballas et al. 2015, arXiv:1511.06432). ConvGRUCell gives the equations.

    Args:
        in_features: channels of the input.
        hidden_features: channels of the hidden state; a list is per layer.
        kernel_size: of the input's convolution; a tuple is per dimension, a list per layer.
        num_layers: None means the length of the lists given, else 1.
        ndim: spatial dimensions: 1, 2 or 3.
        recurrent_kernel_size: of the state's convolution; None means ``kernel_size``.
        stride, recurrent_stride: of the two convolutions; only the input's changes the size of the state.
        dilation, recurrent_dilation: of the two convolutions; the second defaults to the first.
        groups: into which the channels of every gate are divided, in all its convolutions.
        padding: of the input's convolution: ``same``, ``valid``, ``preserve``, a number, or a tuple with a number or (low, high)
            per dimension.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        use_bias: whether there are biases.
        reset: ``before`` (which None means) or ``after``; a GRU's only.
        activation, recurrent_activation: ``tanh``, ``relu``, ``leaky_relu``, ``sigmoid``, ``hard_sigmoid`` or ``hard_sigmoid_0.2``.
        peephole, state_size: an LSTM's only: ``hadamard`` or ``conv``; and the size of the state that a ``hadamard`` one is tied to.
        norm: number of groups of a group norm of the pre-activations (1 is layer norm), or a tuple, or a convgru.spec.Norm.
        updates: kernel sizes of several steps in a row on one state (RAFT's SepConvGRU), instead of ``kernel_size``.
        bidirectional: True or ``layer`` (each layer both ways), or ``stack`` (two whole stacks).
        merge: how two directions become one output: ``concat``, ``sum``, ``mean`` or ``mul``.
        dropout, recurrent_dropout, zoneout: probabilities: between layers; on h where it enters its convolution, one mask for all
            frames; of keeping the old state.
        output_size: pool the input to this size first (adaptive average).
        time_major: x and output are (T, B, *S, C) instead of (B, T, *S, C).
        dtype: what to compute in: parameters, input and carry are cast to it. None: all must have the parameters' dtype.
        param_dtype: of the parameters.
        method: ``fast``, or ``plain`` for what the fast gradient cannot do (forward mode).
        deterministic: evaluation rather than training: no dropout, zoneout takes its mean. ``train()`` and ``eval()`` set it.
        rngs: draws the initial parameters, from its stream ``params``: weight_ih Glorot uniform, weight_hh orthogonal, gate by gate;
            a network with dropout forks its stream ``dropout``.

    Raises:
        ValueError, TypeError: an argument is not what it should be; the message names it.

    Example::

        net = ConvGRU(1, [16, 16], kernel_size=3, rngs=nnx.Rngs(0))
        output, carry = net(x)  # x (B, T, H, W, 1), output (B, T, H, W, 16), carry (h0, h1)
        output, carry = net.step(frame, carry)  # frame (B, H, W, 1)
    """

    kind = "gru"


class ConvLSTM(ConvStack):
    """Layers of convolutional LSTMs (Shi et al. 2015, arXiv:1506.04214). ConvLSTMCell gives the equations.

    Arguments and errors are those of ConvGRU, but for ``reset``. Each layer's carry is (h, c); nnx's own is (c, h).

    Example::

        net = ConvLSTM(1, 16, num_layers=2, rngs=nnx.Rngs(0))
        output, ((h0, c0), (h1, c1)) = net(x)  # x (B, T, H, W, 1)
    """

    kind = "lstm"


class ConvRNN(ConvStack):
    """Layers of h' = φ(W*x + U*h + b) (Elman 1990, with convolutions). Arguments and errors are those of ConvGRU, but for ``reset``.

    Example::

        net = ConvRNN(3, 8, activation="relu", ndim=1, rngs=nnx.Rngs(0))
        output, (h,) = net(x)  # x (B, T, L, 3)
    """

    kind = "rnn"


STACKS: dict[str, type[ConvStack]] = {stack.kind: stack for stack in (ConvGRU, ConvLSTM, ConvRNN)}
"""The public network of each kind."""


def filled_stack(spec: NetworkSpec, arrays: Arrays, **options: Any) -> ConvStack:
    """The public network of ``spec``'s kind with the arrays that ``arrays`` names after ``prefix``."""
    return arguments.as_class(STACKS[spec.cell], Filled(spec, arrays, **options))
