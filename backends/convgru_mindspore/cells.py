"""Bare cells: one layer of a convolutional recurrent network, one frame a call."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru.shapes import cell_parameter_shapes, layer_prefix
from convgru.spec import TITLES, CellSpec, NetworkSpec, network
from convgru.weights import Weights
from convgru_mindspore import core
from convgru_mindspore.parameters import checked_call, checked_cell, describe, parameter, starting_weights

PREFIX = layer_prefix(0)


class Cell(nn.Cell):
    """What the three cells share; ``spec`` is a network of one layer, parameters have its short names."""

    spec: NetworkSpec
    kind: str

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec | CellSpec,
        *,
        weights: Weights | None = None,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> Any:
        """The cell that a spec of one layer describes, with these weights or initial ones."""
        net = cls.__new__(cls)
        nn.Cell.__init__(net)
        net._hold(NetworkSpec((spec,)) if isinstance(spec, CellSpec) else spec, weights, dtype, accurate)
        return net

    def _hold(self, spec: NetworkSpec, weights: Weights | None, dtype: Any, accurate: bool) -> None:
        checked_cell(f"{TITLES[self.kind]}Cell", self.kind, spec)
        if len(spec.layers) != 1:
            raise ValueError(f"{spec.title}Cell expected a spec of one layer, got {len(spec.layers)}")
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.accurate = spec, bool(accurate)
        self.bias: Any = None
        self.bias_hn: Any = None
        for name in cell_parameter_shapes(spec.layers[0]):
            setattr(self, name, parameter(weights.arrays[PREFIX + name], name))

    def __call__(self, x: Any, state: Any = None) -> Any:
        """Check the call, then run ``construct``."""
        given = None if state is None else (state,)
        given = checked_call(self.spec, x, given, self.weight_ih.dtype, "BCS")
        return super().__call__(x) if given is None else super().__call__(x, given[0])

    def construct(self, x: Any, state: Any = None) -> Any:
        """The new state, h or (h, c), after the frame x (B, C, *S)."""
        given = None if state is None else (state,)
        given = core.ready_state(self.spec, x, given, self.weight_ih.dtype, "BCS")
        _, final = core.compute(self.spec, self.arrays(), mops.expand_dims(x, 0), given, self.accurate)
        return final[0]

    def arrays(self, layer: int = 0) -> dict[str, Any]:
        """The parameters by their canonical names as this layer of a network."""
        arrays = {
            core.canonical(layer, "weight_ih"): self.weight_ih,
            core.canonical(layer, "weight_hh"): self.weight_hh,
        }
        if self.bias is not None:
            arrays[core.canonical(layer, "bias")] = self.bias
        if self.bias_hn is not None:
            arrays[core.canonical(layer, "bias_hn")] = self.bias_hn
        return arrays

    def __repr__(self) -> str:
        return describe(self.spec, self.weight_ih.dtype).replace("(", "Cell(", 1)


class ConvGRUCell(Cell):
    r"""One frame of a ConvGRU (Ballas et al. 2015, arXiv:1511.06432): ``h = cell(x, h)``.

    r = σ(W_r*x + U_r*h + b_r), z = σ(W_z*x + U_z*h + b_z), n = φ(W_n*x + b_n + U_n*(r∘h)), h' = z∘h + (1−z)∘n; with
    ``reset="after"`` n = φ(W_n*x + b_n + r∘(U_n*h + b_hn)), as in cuDNN. See ``convgru.equations``.

    Arguments as in ``ConvGRU``. ``cell(x, h=None)``: x (B, C, *S), h (B, H, *S) or None for zeros; returns the new h.
    Parameters: weight_ih (3·H, C, *k), weight_hh (3·H, H, *k), bias (3·H), bias_hn (H) with bias and reset after.
    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> cell = ConvGRUCell(3, 8)
        >>> h = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Any = 3,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Any = None,
        dilation: Any = 1,
        recurrent_dilation: Any = None,
        padding: Any = "same",
        has_bias: bool = True,
        reset: str = "before",
        activation: str = "tanh",
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> None:
        super().__init__()
        spec = network(
            "gru", in_channels, hidden_channels, kernel_size, ndim=ndim, recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation, recurrent_dilation=recurrent_dilation, padding=padding, bias=has_bias, reset=reset,
            activation=activation,
        )  # fmt: skip
        self._hold(spec, None, dtype, accurate)


class ConvLSTMCell(Cell):
    r"""One frame of a ConvLSTM (Shi et al. 2015, arXiv:1506.04214), without peepholes: ``h, c = cell(x, (h, c))``.

    i, f, o = σ(W*x + U*h + b), g = φ(W_g*x + U_g*h + b_g), c' = f∘c + i∘g, h' = o∘φ(c'). See ``convgru.equations``.

    Arguments as in ``ConvLSTM``. ``cell(x, state=None)``: x (B, C, *S), state (h, c), each (B, H, *S), or None for zeros;
    returns the new (h, c). Parameters: weight_ih (4·H, C, *k), weight_hh (4·H, H, *k), bias (4·H).
    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> cell = ConvLSTMCell(3, 8)
        >>> h, c = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Any = 3,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Any = None,
        dilation: Any = 1,
        recurrent_dilation: Any = None,
        padding: Any = "same",
        has_bias: bool = True,
        activation: str = "tanh",
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> None:
        super().__init__()
        spec = network(
            "lstm", in_channels, hidden_channels, kernel_size, ndim=ndim, recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation, recurrent_dilation=recurrent_dilation, padding=padding, bias=has_bias, activation=activation,
        )  # fmt: skip
        self._hold(spec, None, dtype, accurate)


class ConvRNNCell(Cell):
    r"""One frame of a ConvRNN (Elman 1990, with convolutions): ``h = cell(x, h)``, h' = φ(W*x + U*h + b).

    Arguments as in ``ConvRNN``. ``cell(x, h=None)``: x (B, C, *S), h (B, H, *S) or None for zeros; returns the new h.
    Parameters: weight_ih (H, C, *k), weight_hh (H, H, *k), bias (H).
    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> cell = ConvRNNCell(3, 8, activation="relu")
        >>> h = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
    """

    kind = "rnn"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Any = 3,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Any = None,
        dilation: Any = 1,
        recurrent_dilation: Any = None,
        padding: Any = "same",
        has_bias: bool = True,
        activation: str = "tanh",
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> None:
        super().__init__()
        spec = network(
            "rnn", in_channels, hidden_channels, kernel_size, ndim=ndim, recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation, recurrent_dilation=recurrent_dilation, padding=padding, bias=has_bias, activation=activation,
        )  # fmt: skip
        self._hold(spec, None, dtype, accurate)


CELLS: dict[str, type[Cell]] = {"gru": ConvGRUCell, "lstm": ConvLSTMCell, "rnn": ConvRNNCell}
