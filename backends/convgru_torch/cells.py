"""ConvGRUCell, ConvLSTMCell and ConvRNNCell: one layer, one frame a call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from convgru.spec import Ints, NetworkSpec, network
from convgru.spec.describe import arguments
from convgru.spec.options import explicit, refuse_unknown
from convgru_torch import hub
from convgru_torch.functional import call_network
from convgru_torch.loop import run_layer
from convgru_torch.options import DEFAULTS, GRUCellOptions, LSTMCellOptions, RNNCellOptions
from convgru_torch.parameters import LayerModule, Precision, check_parameters, zero_state

if TYPE_CHECKING:
    from typing import Self, Unpack  # new in 3.11; the room itself also runs on 3.10


class Cell(LayerModule):
    """One layer that takes one frame a call; its ``spec`` is a network of that layer alone."""

    kind: ClassVar[str]

    def __init__(self, in_channels: int, hidden_channels: int, kernel_size: Ints, ndim: int, **options: Any) -> None:
        device, dtype = options.pop("device", None), options.pop("dtype", None)
        spec = network(self.kind, in_channels, hidden_channels, kernel_size, ndim=ndim, **options)
        self._build(spec, device, dtype)

    def _build(self, spec: NetworkSpec, device: Any, dtype: torch.dtype | None) -> None:
        if spec.cell != self.kind or spec != NetworkSpec(spec.layers[:1]):
            raise ValueError(f"{type(self).__name__} expected a spec of one {self.kind} layer, got {spec}")
        LayerModule.__init__(self, spec, device, dtype)

    @classmethod
    def from_spec(cls, spec: NetworkSpec, *, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        """Make the cell that a spec of one layer describes. Raises ValueError for any other spec."""
        self: Self = hub.new(cls, spec)
        self._build(spec, device, dtype)
        return self

    def forward(self, x: Tensor, state: Any = None, *, context: Tensor | None = None) -> Any:
        """Take one frame and return the new state and nothing else, as torch.nn.GRUCell and torch.nn.LSTMCell do.

        So ``h = cell(x, h)`` for a GRU or RNN (``y, state = cell(x)`` would unpack the batch) and ``h, c = cell(x, (h, c))``
        for an LSTM. ``step`` returns the pair (output, state), as the stacks do.

        Args:
            x: (B, C, *S), or unbatched (C, *S).
            state: h (B, H, *S), or (h, c) for an LSTM, unbatched with x; None means zeros.
            context: (B, G·H, *S), added to the pre-activations of all G gates.

        Returns:
            h' (B, H, *S), or (h', c') for an LSTM, unbatched if x is.

        Raises:
            ValueError: for a shape that does not fit.
            TypeError: for a dtype that is not the parameters'.
        """
        owner, cell, arrays = type(self).__name__, self.spec.layers[0], self.current()
        precision = Precision(check_parameters(owner, self.shapes, arrays))
        begin = None if state is None else (state,)
        contexts = None if context is None else (context,)
        layers = [[partial(run_layer, cell, arrays)]]
        _, (new,) = call_network(owner, self.spec, layers, precision, x, begin, context=contexts, layout="BCS")
        return new

    def step(self, x: Tensor, state: Any = None, *, context: Tensor | None = None) -> tuple[Tensor, Any]:
        """Take one frame and return the pair of output, which is h', and new state, to be handed to the next call.

        Arguments and errors as in the call, whose hooks run too.
        """
        new = self(x, state, context=context)
        return new[0] if isinstance(new, tuple) else new, new

    def zero_state(self, batch: int, size: Sequence[int]) -> Any:
        """Make the state that None stands for: h, or (h, c) for an LSTM.

        Args:
            batch: samples B.
            size: spatial size of the frames.

        Returns:
            Zeros of the parameters' dtype and on their device.
        """
        (entry,) = zero_state(self, batch, size)
        return entry

    def extra_repr(self) -> str:
        """The arguments that made this cell, defaults left out."""
        return arguments(self.spec.in_channels, self.spec)


@explicit(GRUCellOptions, DEFAULTS)
class ConvGRUCell(Cell):
    """A convolutional GRU that takes one frame a call (equations: ``convgru.equations.gru_before`` and ``gru_after``).

    Args:
        in_channels: channels C of a frame.
        hidden_channels: channels H of the hidden state.
        kernel_size: one number, or one for each dimension; even ones are as good as odd ones.
        ndim: spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size, recurrent_dilation: of the convolution over h; by default those of the input's.
        stride, dilation: of the convolution over the input; a stride makes the state smaller than the frame.
        recurrent_stride: of the convolution over h, which keeps the size of the state all the same.
        groups: how many groups divide each gate's channels, by itself.
        padding: ``same``, ``valid``, ``preserve`` (the size of the frame at any stride), a number, or a tuple with a number or
            a (low, high) pair for each dimension.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        bias: whether there is one.
        reset: ``before`` the recurrent convolution (Ballas et al. 2015, arXiv:1511.06432) or ``after`` it (cuDNN, torch.nn.GRU).
        activation, recurrent_activation: φ and σ: ``tanh``, ``relu``, ``leaky_relu``, ``sigmoid``, ``hard_sigmoid`` or ``hard_sigmoid_0.2``.
        norm: group norm of the pre-activations: a number of groups (1: layer norm), a tuple with one number for (r, z) and one for n,
            or a ``convgru.spec.Norm``.
        updates: kernel sizes of several steps in a row on one state, as ((1, 5), (5, 1)) in RAFT's SepConvGRU.
        device, dtype: of the parameters, as everywhere in torch.

    Parameters: weight_ih (3H, C/groups, *k), weight_hh (3H, H/groups, *k), bias (3H), and for ``after`` bias_hn (H); gates in the
    order r, z, n; with a norm norm_weight and norm_bias (3H); with updates ``updates.{u}.weight_ih`` and so on.

    Raises:
        ValueError, TypeError: for arguments that describe no cell, naming the argument.

    Example:
        >>> cell = ConvGRUCell(3, 8)
        >>> h = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints = 3,
        *,
        ndim: int = 2,
        **options: Unpack[GRUCellOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, GRUCellOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, ndim, **options)


@explicit(LSTMCellOptions, DEFAULTS)
class ConvLSTMCell(Cell):
    """A convolutional LSTM that takes one frame a call (Shi et al. 2015, arXiv:1506.04214; ``convgru.equations.lstm``).

    Arguments as for ConvGRUCell, without ``reset``, and

    Args:
        peephole: None; ``hadamard``: one weight for each channel, or with ``state_size`` for each pixel; ``conv``: a convolution with
            the geometry of the recurrent one.
        state_size: the spatial size of the state to which a ``hadamard`` peephole is tied.

    The state is (h, c). Parameters: weight_ih (4H, C/groups, *k), weight_hh (4H, H/groups, *k), bias (4H); gates in the order
    i, f, g, o; peephole_i, peephole_f, peephole_o (H, *state_size), (H, 1, …) or (H, H/groups, *k); norm and updates as in ConvGRUCell.

    Example:
        >>> cell = ConvLSTMCell(3, 8, peephole="hadamard")
        >>> h, c = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints = 3,
        *,
        ndim: int = 2,
        **options: Unpack[LSTMCellOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, LSTMCellOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, ndim, **options)


@explicit(RNNCellOptions, DEFAULTS)
class ConvRNNCell(Cell):
    """A convolutional Elman network that takes one frame a call: h' = φ(W*x + U*h + b) (``convgru.equations.rnn``).

    Arguments as for ConvGRUCell, without ``reset``. Parameters: weight_ih (H, C/groups, *k), weight_hh (H, H/groups, *k), bias (H); norm and
    updates as there. Source: Elman 1990.

    Example:
        >>> cell = ConvRNNCell(3, 8, activation="relu")
        >>> h = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "rnn"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints = 3,
        *,
        ndim: int = 2,
        **options: Unpack[RNNCellOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, RNNCellOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, ndim, **options)
