"""Stacks of layers over a sequence of frames: ConvGRU, ConvLSTM, ConvRNN."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru.shapes import layer_prefix
from convgru.spec import TITLES, NetworkSpec, network
from convgru.weights import Weights
from convgru_mindspore import core
from convgru_mindspore.cells import CELLS
from convgru_mindspore.parameters import checked_call, checked_cell, describe, starting_weights


class Layer(nn.Cell):
    """One layer: its cell, called ``fwd`` for the direction in which it reads time."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.fwd = cell

    def construct(self, x: Any, state: Any = None) -> Any:
        """One frame through the cell."""
        return self.fwd(x, state)


class Stack(nn.Cell):
    """What the three stacks share."""

    spec: NetworkSpec
    kind: str

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec,
        *,
        weights: Weights | None = None,
        batch_first: bool = False,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> Any:
        """The network that ``spec`` describes, with these weights (their dtype then counts) or initial ones."""
        net = cls.__new__(cls)
        nn.Cell.__init__(net)
        net._hold(spec, weights, batch_first, dtype, accurate)
        return net

    def _hold(self, spec: NetworkSpec, weights: Weights | None, batch_first: bool, dtype: Any, accurate: bool) -> None:
        checked_cell(TITLES[self.kind], self.kind, spec)
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.batch_first, self.accurate = spec, bool(batch_first), bool(accurate)
        self.layout = "BTCS" if batch_first else "TBCS"
        layers = []
        for index, cell in enumerate(spec.layers):
            own = NetworkSpec((cell,))
            arrays = {name.replace(layer_prefix(index), layer_prefix(0)): array
                      for name, array in weights.arrays.items() if name.startswith(layer_prefix(index))}  # fmt: skip
            layers.append(Layer(CELLS[cell.cell].from_spec(own, weights=Weights(own, arrays), accurate=accurate)))
        self.layers = nn.CellList(layers)

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, which x and state must have."""
        return self.layers[0].fwd.weight_ih.dtype

    def __call__(self, x: Any, state: Any = None) -> Any:
        """Check the call, then run ``construct``."""
        state = checked_call(self.spec, x, state, self.dtype, self.layout)
        return super().__call__(x) if state is None else super().__call__(x, state)

    def construct(self, x: Any, state: Any = None) -> Any:
        """Output and final state for the sequence x."""
        state = core.ready_state(self.spec, x, state, self.dtype, self.layout)
        if self.batch_first:
            x = mops.swapaxes(x, 0, 1)
        y, state = core.compute(self.spec, self.arrays(), x, state, self.accurate)
        if self.batch_first:
            y = mops.swapaxes(y, 0, 1)
        return y, state

    def step(self, x: Any, state: Any = None) -> Any:
        """One frame x (B, C, *S): (output, state), as the sequence call gives frame by frame.

        Raises what the sequence call raises. Example: ``y, state = net.step(frame, state)``.
        """
        state = core.ready_state(self.spec, x, state, self.dtype, "BCS")
        y, state = core.compute(self.spec, self.arrays(), mops.expand_dims(x, 0), state, self.accurate)
        return mops.squeeze(y, 0), state

    def arrays(self) -> dict[str, Any]:
        """The parameters by their canonical names."""
        arrays = {}
        for index, layer in enumerate(self.layers):
            own = layer.fwd.arrays(index)
            for name in own:
                arrays[name] = own[name]
        return arrays

    def __repr__(self) -> str:
        return describe(
            self.spec, self.dtype, batch_first=self.batch_first or None, accurate=None if self.accurate else False
        )


class ConvGRU(Stack):
    r"""Convolutional GRU over a sequence (Ballas et al. 2015, arXiv:1511.06432), one or more layers.

    r = σ(W_r*x + U_r*h + b_r), z = σ(W_z*x + U_z*h + b_z), n = φ(W_n*x + b_n + U_n*(r∘h)), h' = z∘h + (1−z)∘n; with
    ``reset="after"`` n = φ(W_n*x + b_n + r∘(U_n*h + b_hn)), as in cuDNN. See ``convgru.equations``.

    ``net(x, state=None)``: x (T, B, C, *S), or (B, T, C, *S) with ``batch_first``; state None for zeros, else a tuple with
    h (B, H, *S) for each layer. Returns the top layer's h for every frame, in the layout of x, and the final state. In
    graph mode a state passed to a function of your own should go through ``mindspore.mutable``; a call of the module from
    Python does it itself.

    Args:
        in_channels, hidden_channels, kernel_size, num_layers: a tuple is per dimension, a list per layer; ``num_layers``
            None means the length of the lists given, else 1.
        ndim: 1, 2 or 3 spatial dimensions.
        recurrent_kernel_size, dilation, recurrent_dilation: of the two convolutions; the recurrent ones default to the input's.
        padding: of the input convolution: ``same``, ``valid``, a number, or for each dimension a number or (low, high).
        has_bias: whether there are biases.
        reset: ``before`` or ``after`` the recurrent convolution.
        activation: ``tanh`` or ``relu``.
        batch_first: whether x and output are (B, T, ...).
        dtype: of the parameters: mindspore.float32, float16 or float64; x must have it too.
        accurate: sigmoid and tanh in float64, rounded once. False takes MindSpore's own, off by 8e-7 and 1e-4 in float32.

    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> net = ConvGRU(3, [16, 8])
        >>> y, state = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
        >>> y, state = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32), state)
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Any = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Any = None,
        dilation: Any = 1,
        recurrent_dilation: Any = None,
        padding: Any = "same",
        has_bias: bool = True,
        reset: str = "before",
        activation: str = "tanh",
        batch_first: bool = False,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> None:
        super().__init__()
        spec = network(
            "gru", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, dilation=dilation,
            recurrent_kernel_size=recurrent_kernel_size, recurrent_dilation=recurrent_dilation, padding=padding,
            bias=has_bias, reset=reset, activation=activation,
        )  # fmt: skip
        self._hold(spec, None, batch_first, dtype, accurate)


class ConvLSTM(Stack):
    r"""Convolutional LSTM over a sequence (Shi et al. 2015, arXiv:1506.04214), without peepholes, one or more layers.

    i, f, o = σ(W*x + U*h + b), g = φ(W_g*x + U_g*h + b_g), c' = f∘c + i∘g, h' = o∘φ(c'). See ``convgru.equations``.

    Arguments, layouts and errors as in ``ConvGRU``; the state has a pair (h, c) for each layer.

    Example:
        >>> net = ConvLSTM(3, 8)
        >>> y, ((h, c),) = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Any = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Any = None,
        dilation: Any = 1,
        recurrent_dilation: Any = None,
        padding: Any = "same",
        has_bias: bool = True,
        activation: str = "tanh",
        batch_first: bool = False,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> None:
        super().__init__()
        spec = network(
            "lstm", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, dilation=dilation,
            recurrent_kernel_size=recurrent_kernel_size, recurrent_dilation=recurrent_dilation, padding=padding,
            bias=has_bias, activation=activation,
        )  # fmt: skip
        self._hold(spec, None, batch_first, dtype, accurate)


class ConvRNN(Stack):
    r"""Convolutional form of Elman's network (1990) over a sequence: h' = φ(W*x + U*h + b), one or more layers.

    Arguments, layouts and errors as in ``ConvGRU``.

    Example:
        >>> net = ConvRNN(3, 8, activation="relu")
        >>> y, (h,) = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
    """

    kind = "rnn"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Any = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Any = None,
        dilation: Any = 1,
        recurrent_dilation: Any = None,
        padding: Any = "same",
        has_bias: bool = True,
        activation: str = "tanh",
        batch_first: bool = False,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> None:
        super().__init__()
        spec = network(
            "rnn", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, dilation=dilation,
            recurrent_kernel_size=recurrent_kernel_size, recurrent_dilation=recurrent_dilation, padding=padding,
            bias=has_bias, activation=activation,
        )  # fmt: skip
        self._hold(spec, None, batch_first, dtype, accurate)


STACKS: dict[str, type[Stack]] = {"gru": ConvGRU, "lstm": ConvLSTM, "rnn": ConvRNN}
