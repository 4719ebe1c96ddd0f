"""ConvGRUCell, ConvLSTMCell and ConvRNNCell: one layer, one frame a call."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from convgru.shapes import cell_parameter_shapes, layer_prefix
from convgru.spec import Ints, NetworkSpec, network
from convgru_torch.core import run
from convgru_torch.modules import SpecModule, add_parameters, arguments, initialise


class Cell(SpecModule):
    """One layer; its ``spec`` is a network of that layer alone."""

    kind: ClassVar[str]

    def __init__(self, spec: NetworkSpec, *, device: Any = None, dtype: torch.dtype | None = None) -> None:
        super().__init__(spec)
        if len(spec.layers) != 1 or spec.cell != self.kind:
            raise ValueError(f"{type(self).__name__} expected a spec of one {self.kind} layer, got {spec}")
        add_parameters(self, spec.layers[0], device, dtype)
        self.reset_parameters()

    @classmethod
    def from_spec(cls, spec: NetworkSpec, *, device: Any = None, dtype: torch.dtype | None = None) -> Any:
        """The cell that a spec of one layer describes. Raises ValueError for any other spec."""
        self = cls.__new__(cls)
        Cell.__init__(self, spec, device=device, dtype=dtype)
        return self

    def reset_parameters(self) -> None:
        """Draw new initial values: weight_ih Glorot uniform and weight_hh orthogonal, each gate by itself; bias zero, a forget gate's one."""
        initialise(self, self.spec.layers[0])

    def arrays(self, prefix: str = layer_prefix(0)) -> dict[str, Tensor]:
        """The parameters by canonical name: those of layer 0."""
        return {prefix + name: getattr(self, name) for name in cell_parameter_shapes(self.spec.layers[0])}

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """Take one frame.

        Args:
            x: (B, C, *S).
            state: h (B, H, *S), or (h, c) for an LSTM; None means zeros.

        Returns:
            The new state, h' or (h', c'), as torch.nn.GRUCell and torch.nn.LSTMCell do.

        Raises:
            ValueError: for a shape that does not fit.
            TypeError: for a dtype that is not the parameters'.
        """
        return self.step(x, state)[1]

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Take one frame; returns the output, which is h', and the new state, to be handed to the next call."""
        owner = type(self).__name__
        entries = None if state is None else (state,)
        y, new = run(self.spec, self.arrays(), x, entries, layout="BCS", owner=owner)
        return y, new[0]

    def extra_repr(self) -> str:
        """The arguments that made this cell, defaults left out."""
        return arguments(self.spec.in_channels, self.spec)


class ConvGRUCell(Cell):
    """A convolutional GRU that takes one frame a call (equations: ``convgru.equations.gru_before`` and ``gru_after``).

    Args:
        in_channels: channels C of a frame.
        hidden_channels: channels H of the hidden state.
        kernel_size: one number, or one for each dimension; even ones are as good as odd ones.
        ndim: spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size, recurrent_dilation: of the convolution over h; by default those of the input's.
        dilation: of the convolution over the input.
        padding: ``same``, ``valid``, a number, or a tuple with a number or a (low, high) pair for each dimension.
        bias: whether there is one.
        reset: ``before`` the recurrent convolution (Ballas et al. 2015, arXiv:1511.06432) or ``after`` it (cuDNN, torch.nn.GRU).
        activation: ``tanh`` or ``relu``.
        device, dtype: of the parameters, as everywhere in torch.

    Parameters: weight_ih (3H, C, *k), weight_hh (3H, H, *k), bias (3H), and for ``after`` bias_hn (H); gates in the order r, z, n.

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
        recurrent_kernel_size: Ints | None = None,
        dilation: Ints = 1,
        recurrent_dilation: Ints | None = None,
        padding: Any = "same",
        bias: bool = True,
        reset: str = "before",
        activation: str = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        spec = network(
            self.kind,
            in_channels,
            hidden_channels,
            kernel_size,
            ndim=ndim,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=bias,
            reset=reset,
            activation=activation,
        )
        super().__init__(spec, device=device, dtype=dtype)


class _PlainCell(Cell):
    """A cell without a reset gate."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints = 3,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Ints | None = None,
        dilation: Ints = 1,
        recurrent_dilation: Ints | None = None,
        padding: Any = "same",
        bias: bool = True,
        activation: str = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        spec = network(
            self.kind,
            in_channels,
            hidden_channels,
            kernel_size,
            ndim=ndim,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=bias,
            activation=activation,
        )
        super().__init__(spec, device=device, dtype=dtype)


class ConvLSTMCell(_PlainCell):
    """A convolutional LSTM that takes one frame a call (Shi et al. 2015, arXiv:1506.04214; ``convgru.equations.lstm``).

    Arguments as for ConvGRUCell, without ``reset``. The state is (h, c).
    Parameters: weight_ih (4H, C, *k), weight_hh (4H, H, *k), bias (4H); gates in the order i, f, g, o.

    Example:
        >>> cell = ConvLSTMCell(3, 8)
        >>> h, c = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "lstm"


class ConvRNNCell(_PlainCell):
    """A convolutional Elman network that takes one frame a call: h' = φ(W*x + U*h + b) (``convgru.equations.rnn``).

    Arguments as for ConvGRUCell, without ``reset``. Parameters: weight_ih (H, C, *k), weight_hh (H, H, *k), bias (H).
    Source: Elman 1990.

    Example:
        >>> cell = ConvRNNCell(3, 8, activation="relu")
        >>> h = cell(torch.zeros(2, 3, 16, 16))
    """

    kind = "rnn"
