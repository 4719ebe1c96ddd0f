"""Bare cells: one layer of a convolutional recurrent network, one frame a call."""

from __future__ import annotations

from typing import Any, Unpack

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru.spec import TITLES, CellSpec, Ints, NetworkSpec, describe, network
from convgru.spec.shapes import layer_prefix, zero_state_shapes
from convgru.weights import Weights
from convgru_mindspore import arguments, graph_checks
from convgru_mindspore.direction import run_direction
from convgru_mindspore.export import refuse_frozen
from convgru_mindspore.options import (
    DEFAULTS,
    GRUCellOptions,
    LSTMCellOptions,
    RNNCellOptions,
    explicit,
    split_options,
)
from convgru_mindspore.parameters import (
    LayerParameters,
    arrays_below,
    check_cell,
    is_pair,
    starting_weights,
)


class Cell(LayerParameters):
    """The base of the three bare cells; ``spec`` is a network of one layer.

    The parameters have their short names: weight_ih, not layers.0.fwd.weight_ih.
    """

    spec: NetworkSpec
    kind: str
    layout = "BCS"

    @classmethod
    def from_spec(cls, spec: NetworkSpec | CellSpec, *, weights: Weights | None = None, dtype: Any = ms.float32) -> Any:
        """The cell of a spec of one layer.

        With ``weights`` the parameters are these, in their dtype; without, initial ones of
        ``dtype``.
        """
        net = cls.__new__(cls)
        nn.Cell.__init__(net)
        net._set_spec(NetworkSpec((spec,)) if isinstance(spec, CellSpec) else spec, weights, dtype)
        return net

    def _set_spec(self, spec: NetworkSpec, weights: Weights | None, dtype: Any) -> None:
        title = f"{TITLES[self.kind]}Cell"
        check_cell(title, self.kind, spec)
        if len(spec.layers) != 1:
            raise ValueError(f"{title} expected a spec of one layer, got {len(spec.layers)}")
        if spec != NetworkSpec(spec.layers):
            raise ValueError(f"{title} expected a spec of a layer alone, got {spec!r}")
        self.spec, self.name_in_errors, self.pairs = spec, type(self).__name__, is_pair(spec)
        self.set_layer(spec.layers[0], arrays_below(starting_weights(spec, dtype, weights), layer_prefix(0)))

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters and of the state."""
        return self.first().dtype

    def zero_state(self, batch: int, size: tuple[int, ...]) -> Any:
        """The initial state, zeros h or (h, c), for ``batch`` frames of ``size`` pixels."""
        return arguments.zeros(zero_state_shapes(self.name_in_errors, self.spec, batch, size), self.dtype)[0]

    @arguments.one_at_a_time
    def __call__(self, x: Any, state: Any = None, context: Any = None) -> Any:
        """Check the call, then run ``construct``."""
        call = arguments.caller(self.name_in_errors, self.spec, self.layout, self.compute_dtype)
        given = None if state is None else (state,)
        parts = None if context is None else (context,)
        shapes = arguments.check_network(call, self.dtype, x, given, None, parts, None)
        entry = arguments.zeros(shapes, self.dtype)[0] if state is None else state
        # Taken out of a mutable tuple, an inner tuple is a constant again: each new state would
        # compile anew.
        return nn.Cell.__call__(
            self, x, arguments.live(entry) if isinstance(entry, (tuple, list)) else entry, context, True
        )

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Any, state: Any = None, context: Any = None, checked: bool = False
    ) -> Any:
        """The new state, h or (h, c), after the frame x (B, C, *S)."""
        dtype = self.first().dtype
        given = None if state is None else (state,)
        parts = None if context is None else (context,)
        if not checked:
            if isinstance(state, (tuple, list)):
                refuse_frozen(self.name_in_errors, self.pairs, True)
            call = (self.name_in_errors, self.spec, "BCS", self.compute_dtype, dtype)
            given = graph_checks.ready_network(call, x, given, None, parts, None)
        given = arguments.cast_state(given, dtype)
        frame = x if x.dtype == dtype else x.astype(dtype)
        if context is not None:
            context = context if context.dtype == dtype else context.astype(dtype)
            context = context[0] if len(context.shape) > len(x.shape) else context
        frame = mops.expand_dims(frame, 0)
        _, new, _ = run_direction(
            self.cell_spec, self.prepared(), frame, given[0], None, context, (None, None), False, False, True, "auto"
        )
        return new

    def extend_repr(self) -> Any:
        """The arguments that make the cell."""
        text = describe.arguments(self.spec.in_channels, self.spec, dtype=self.dtype)
        return text.replace(", bias=", ", has_bias=")


@explicit(GRUCellOptions, DEFAULTS)
class ConvGRUCell(Cell):
    r"""A ConvGRU for one frame (Ballas et al. 2015, arXiv:1511.06432): ``h = cell(x, h)``.

    .. math::
        r = σ(W_r*x + U_r*h + b_r), \quad z = σ(W_z*x + U_z*h + b_z), \\
        n = φ(W_n*x + b_n + U_n*(r∘h)), \quad h' = z∘h + (1−z)∘n

    With ``reset="after"``, as in cuDNN, :math:`n = φ(W_n*x + b_n + r∘(U_n*h + b_{hn}))`. See
    ``convgru.equations``.

    Parameters: weight_ih (3·H, C/groups, *k), weight_hh (3·H, H/groups, *k), bias (3·H); bias_hn
    (H) with bias and ``reset="after"``; norm_weight and norm_bias (3·H) with a norm; with
    ``updates`` these for each, as ``updates.0.weight_ih``.

    Args:
        in_channels (int): Channels C of the frame.
        hidden_channels (int): Channels H of the state.
        kernel_size (Union[int, tuple[int]]): Of the input convolution. Default: ``None`` , for 3.
        ndim (int): 1, 2 or 3 spatial dimensions. Default: ``2`` .
        options: Those of :class:`ConvGRU` that concern one layer, and ``dtype``.

    Inputs:
        - **x** (Tensor) - The frame (B, C, *S).
        - **state** (Tensor) - h (B, H, *S). Default: ``None`` , zeros.
        - **context** (Tensor) - (B, 3·H, *S), added to the pre-activations. Default: ``None`` .

    Outputs:
        Tensor, the new h (B, H, *S): the output and the state at once, not a pair of them.

    Raises:
        ValueError: If a shape does not fit.
        TypeError: If an argument is of the wrong kind or dtype.
        UnsupportedError: If `dtype` is bfloat16, which does not compute on CPU.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> cell = ConvGRUCell(3, 8)
        >>> h = cell.zero_state(2, (16, 16))
        >>> for frame in ms.ops.ones((4, 2, 3, 16, 16), ms.float32):
        ...     h = cell(frame, h)
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
        super().__init__()
        spec_options, module_options = split_options("ConvGRUCell", dict(options), GRUCellOptions)
        self._set_spec(
            network("gru", in_channels, hidden_channels, kernel_size, ndim=ndim, **spec_options), None, **module_options
        )


@explicit(LSTMCellOptions, DEFAULTS)
class ConvLSTMCell(Cell):
    r"""A ConvLSTM for one frame (Shi et al. 2015, arXiv:1506.04214): ``h, c = cell(x, (h, c))``.

    .. math::
        i, f = σ(W*x + U*h + P∘c + b), \quad g = φ(W_g*x + U_g*h + b_g), \\
        c' = f∘c + i∘g, \quad o = σ(W_o*x + U_o*h + P_o∘c' + b_o), \quad h' = o∘φ(c')

    See ``convgru.equations``. Parameters: weight_ih (4·H, C/groups, *k), weight_hh (4·H, H/groups,
    *k), bias (4·H); peephole_i, _f, _o: (H, *S), (H, 1, ...) or (H, H/groups, *k).

    Args:
        in_channels (int): Channels C of the frame.
        hidden_channels (int): Channels H of the state.
        kernel_size (Union[int, tuple[int]]): Of the input convolution. Default: ``None`` , for 3.
        ndim (int): 1, 2 or 3 spatial dimensions. Default: ``2`` .
        options: Those of :class:`ConvLSTM` that concern one layer, and ``dtype``.

    Inputs:
        - **x** (Tensor) - The frame (B, C, *S).
        - **state** (tuple[Tensor]) - (h, c), each (B, H, *S). Default: ``None`` , zeros.
        - **context** (Tensor) - (B, 4·H, *S), added to the pre-activations. Default: ``None`` .

    Outputs:
        tuple[Tensor], the new (h, c), each (B, H, *S); h is the output.

    Raises:
        ValueError: If a shape does not fit.
        TypeError: If an argument is of the wrong kind or dtype.
        UnsupportedError: If `dtype` is bfloat16, which does not compute on CPU.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> cell = ConvLSTMCell(3, 8)
        >>> h, c = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
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
        super().__init__()
        spec_options, module_options = split_options("ConvLSTMCell", dict(options), LSTMCellOptions)
        self._set_spec(
            network("lstm", in_channels, hidden_channels, kernel_size, ndim=ndim, **spec_options),
            None,
            **module_options,
        )


@explicit(RNNCellOptions, DEFAULTS)
class ConvRNNCell(Cell):
    r"""A ConvRNN for one frame (Elman 1990, with convolutions): ``h = cell(x, h)``.

    .. math:: h' = φ(W*x + U*h + b)

    Parameters: weight_ih (H, C/groups, *k), weight_hh (H, H/groups, *k), bias (H).

    Args:
        in_channels (int): Channels C of the frame.
        hidden_channels (int): Channels H of the state.
        kernel_size (Union[int, tuple[int]]): Of the input convolution. Default: ``None`` , for 3.
        ndim (int): 1, 2 or 3 spatial dimensions. Default: ``2`` .
        options: Those of :class:`ConvRNN` that concern one layer, and ``dtype``.

    Inputs, Outputs and errors as for :class:`ConvGRUCell`, context (B, H, *S).

    Supported Platforms:
        ``CPU``

    Examples:
        >>> cell = ConvRNNCell(3, 8, activation="relu")
        >>> h = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
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
        super().__init__()
        spec_options, module_options = split_options("ConvRNNCell", dict(options), RNNCellOptions)
        self._set_spec(
            network("rnn", in_channels, hidden_channels, kernel_size, ndim=ndim, **spec_options), None, **module_options
        )


CELLS: dict[str, type[Cell]] = {"gru": ConvGRUCell, "lstm": ConvLSTMCell, "rnn": ConvRNNCell}
