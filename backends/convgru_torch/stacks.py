"""ConvGRU, ConvLSTM and ConvRNN: stacks of layers over sequences."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convgru.shapes import layer_prefix
from convgru.spec import Ints, NetworkSpec, network
from convgru_torch.cells import Cell, ConvGRUCell, ConvLSTMCell, ConvRNNCell
from convgru_torch.core import State, run
from convgru_torch.modules import SpecModule, arguments


class Stack(SpecModule):
    """Layers over a sequence; ``layers[l]["fwd"]`` is the cell of layer l."""

    cell: ClassVar[type[Cell]]

    def __init__(
        self, spec: NetworkSpec, *, batch_first: bool = False, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(spec)
        if spec.cell != self.cell.kind:
            raise ValueError(f"{type(self).__name__} expected a spec of {self.cell.kind} layers, got {spec.cell!r}")
        self.batch_first = batch_first
        self.layers = nn.ModuleList(
            nn.ModuleDict({"fwd": self.cell.from_spec(NetworkSpec((layer,)), device=device, dtype=dtype)})
            for layer in spec.layers
        )

    @classmethod
    def from_spec(
        cls, spec: NetworkSpec, *, batch_first: bool = False, device: Any = None, dtype: torch.dtype | None = None
    ) -> Any:
        """The stack that a spec describes. Raises ValueError for a spec of another cell."""
        self = cls.__new__(cls)
        Stack.__init__(self, spec, batch_first=batch_first, device=device, dtype=dtype)
        return self

    def reset_parameters(self) -> None:
        """Draw new initial values, layer by layer, as the cells do."""
        for cell in self._cells():
            cell.reset_parameters()

    def _cells(self) -> list[Cell]:
        return [layer["fwd"] for layer in self.layers]  # type: ignore[index]

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """The parameters by canonical name, as they are used: behind parametrisations and functional_call too."""
        found: dict[str, Tensor] = {}
        for index, cell in enumerate(self._cells()):
            found.update(cell.arrays(prefix + layer_prefix(index)))
        return found

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over a sequence.

        Args:
            x: (T, B, C, *S), or (B, T, C, *S) with ``batch_first``.
            state: one entry for each layer, h (B, H, *S), or (h, c) for an LSTM; None means zeros.

        Returns:
            The last layer's hidden states, (T, B, H, *S) or (B, T, H, *S), and the final state of every layer.

        Raises:
            ValueError: for a shape that does not fit.
            TypeError: for a dtype that is not the parameters'.
        """
        layout = "BTCS" if self.batch_first else "TBCS"
        return run(self.spec, self.arrays(), x, state, layout=layout, owner=type(self).__name__)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Take one frame (B, C, *S), as it arrives: its output (B, H, *S), and the state for the next call."""
        return run(self.spec, self.arrays(), x, state, layout="BCS", owner=type(self).__name__)

    def extra_repr(self) -> str:
        """The arguments that made this stack, defaults left out."""
        options = {"batch_first": True} if self.batch_first else {}
        return arguments(self.spec.in_channels, self.spec, **options)


class ConvGRU(Stack):
    """A stack of convolutional GRUs (equations: ``convgru.equations.gru_before`` and ``gru_after``).

    A tuple is per dimension, a list per layer, a number for all.

    Args:
        in_channels: channels C of the input.
        hidden_channels: channels H of the hidden state, or a list with one number for each layer.
        kernel_size: of the convolution over the input; even ones are as good as odd ones.
        num_layers: None means the length of the lists given, else 1.
        ndim: spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size, recurrent_dilation: of the convolution over h; by default those of the input's.
        dilation: of the convolution over the input.
        padding: ``same``, ``valid``, a number, or a tuple with a number or a (low, high) pair for each dimension.
        bias: whether there is one.
        reset: ``before`` the recurrent convolution (Ballas et al. 2015, arXiv:1511.06432) or ``after`` it (cuDNN, torch.nn.GRU).
        activation: ``tanh`` or ``relu``.
        batch_first: input and output are (B, T, C, *S) instead of (T, B, C, *S); states are (B, H, *S) either way.
        device, dtype: of the parameters, as everywhere in torch.

    Parameters: ``layers.{l}.fwd.weight_ih`` (3H, C, *k), ``.weight_hh`` (3H, H, *k), ``.bias`` (3H), and for ``after``
    ``.bias_hn`` (H); gates in the order r, z, n.

    Raises:
        ValueError, TypeError: for arguments that describe no network, naming the argument.

    Example:
        >>> net = ConvGRU(3, [16, 8], kernel_size=[5, 3])
        >>> y, state = net(torch.zeros(10, 2, 3, 32, 32))
    """

    cell = ConvGRUCell

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Ints | list[Ints] | None = None,
        dilation: Ints | list[Ints] = 1,
        recurrent_dilation: Ints | list[Ints] | None = None,
        padding: Any = "same",
        bias: bool = True,
        reset: str = "before",
        activation: str = "tanh",
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        spec = network(
            "gru",
            in_channels,
            hidden_channels,
            kernel_size,
            num_layers,
            ndim=ndim,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=bias,
            reset=reset,
            activation=activation,
        )
        super().__init__(spec, batch_first=batch_first, device=device, dtype=dtype)


class _PlainStack(Stack):
    """A stack of cells without a reset gate."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Ints | list[Ints] | None = None,
        dilation: Ints | list[Ints] = 1,
        recurrent_dilation: Ints | list[Ints] | None = None,
        padding: Any = "same",
        bias: bool = True,
        activation: str = "tanh",
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        spec = network(
            self.cell.kind,
            in_channels,
            hidden_channels,
            kernel_size,
            num_layers,
            ndim=ndim,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=bias,
            activation=activation,
        )
        super().__init__(spec, batch_first=batch_first, device=device, dtype=dtype)


class ConvLSTM(_PlainStack):
    """A stack of convolutional LSTMs without peepholes (Shi et al. 2015, arXiv:1506.04214; ``convgru.equations.lstm``).

    Arguments as for ConvGRU, without ``reset``. A state holds a pair (h, c) for each layer.
    Parameters: ``layers.{l}.fwd.weight_ih`` (4H, C, *k), ``.weight_hh`` (4H, H, *k), ``.bias`` (4H); gates in the order i, f, g, o.

    Example:
        >>> net = ConvLSTM(3, 16, num_layers=2)
        >>> y, ((h0, c0), (h1, c1)) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    cell = ConvLSTMCell


class ConvRNN(_PlainStack):
    """A stack of convolutional Elman networks, h' = φ(W*x + U*h + b) (Elman 1990; ``convgru.equations.rnn``).

    Arguments as for ConvGRU, without ``reset``; ``activation`` is ``tanh`` or ``relu``.
    Parameters: ``layers.{l}.fwd.weight_ih`` (H, C, *k), ``.weight_hh`` (H, H, *k), ``.bias`` (H).

    Example:
        >>> net = ConvRNN(3, 16, activation="relu")
        >>> y, (h,) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    cell = ConvRNNCell


STACKS: dict[str, type[Stack]] = {"gru": ConvGRU, "lstm": ConvLSTM, "rnn": ConvRNN}
