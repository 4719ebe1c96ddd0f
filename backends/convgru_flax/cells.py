"""The cells: one layer and one step, as an nnx.RNNCellBase that nnx.RNN can drive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import nnx

from convgru.shapes import cell_parameter_shapes, layer_prefix
from convgru.spec import CellSpec, Ints, NetworkSpec, network
from convgru_flax import calls
from convgru_flax.calls import Arrays
from convgru_jax import core

PARAMETERS = ("weight_ih", "weight_hh", "bias", "bias_hn")


class ConvCell(nnx.RNNCellBase):
    """What the three cells share: parameters by their short names, and one step of ``convgru.equations``."""

    kind: ClassVar[str] = "gru"
    weight_ih: nnx.Param[jax.Array]
    weight_hh: nnx.Param[jax.Array]
    bias: nnx.Param[jax.Array] | None
    bias_hn: nnx.Param[jax.Array] | None

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        kernel_size: Ints = 3,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Ints | None = None,
        dilation: Ints = 1,
        recurrent_dilation: Ints | None = None,
        padding: Any = "same",
        use_bias: bool = True,
        reset: str | None = None,
        activation: str = "tanh",
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        rngs: nnx.Rngs,
    ) -> None:
        spec = network(
            self.kind,
            in_features,
            hidden_features,
            kernel_size,
            1,
            ndim=ndim,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=use_bias,
            reset=reset,
            activation=activation,
        )
        arrays = calls.initial(f"{spec.title}Cell", spec, rngs, param_dtype)
        self._fill(spec.layers[0], arrays, prefix=layer_prefix(0), dtype=dtype, method=method)

    def _fill(self, spec: CellSpec, arrays: Arrays, *, prefix: str, dtype: Any, method: str) -> None:
        self.cell_spec = spec
        for name in PARAMETERS:
            array = arrays.get(prefix + name)
            setattr(self, name, nnx.data(None) if array is None else nnx.Param(array))
        self.dtype = None if dtype is None else calls.usable(self.title, dtype)
        self.method = calls.check_method(self.title, method)

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec,
        *,
        arrays: Mapping[str, Any] | None = None,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """The cell that a network of one layer describes, with ``arrays`` (by canonical name) or initial ones from ``rngs``."""
        owner = f"{cls.__name__}.from_spec"
        calls.check_kind(owner, cls.kind, spec)
        if len(spec.layers) != 1:
            raise ValueError(f"{owner} expected a spec of one layer, got {len(spec.layers)}")
        drawn = calls.given_or_initial(owner, spec, arrays, rngs, param_dtype)
        return calls.as_class(cls, _Filled(spec.layers[0], drawn, prefix=layer_prefix(0), dtype=dtype, method=method))

    @property
    def title(self) -> str:
        """The name in error messages."""
        return f"{self.cell_spec.title}Cell"

    @property
    def spec(self) -> NetworkSpec:
        """The network of one layer that this cell is."""
        return NetworkSpec((self.cell_spec,))

    @property
    def in_features(self) -> int:
        """Channels of the input."""
        return self.cell_spec.in_channels

    @property
    def hidden_features(self) -> int:
        """Channels of the hidden state."""
        return self.cell_spec.hidden_channels

    @property
    def num_feature_axes(self) -> int:
        """The spatial axes and the channels: what nnx.RNN does not take for batch or time."""
        return self.cell_spec.ndim + 1

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their short names."""
        return calls.values(self, cell_parameter_shapes(self.cell_spec))

    def __call__(self, carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        """One step.

        Args:
            carry: h (B, *S, H), or (h, c) for a ConvLSTMCell.
            inputs: one frame (B, *S, C).

        Returns:
            The new carry, and the output, which is the new h.

        Raises:
            ValueError: a shape is not what the cell expects.
            TypeError: a dtype is not that of the parameters, while the cell's own ``dtype`` is None.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        arrays, x, state = calls.enter(
            self.title, self.spec, self.arrays(), inputs, (carry,), layout="BSC", dtype=self.dtype
        )
        pair = len(self.cell_spec.state_names) > 1
        new = core.cell_step(self.cell_spec, arrays, x, state[0] if pair else state, method=self.method)
        return (new if pair else new[0]), new[0]

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Any:
        """The carry before the first frame: zeros, or what ``carry_init`` draws.

        Args:
            input_shape: the shape (B, *S, C) of one frame.
            rngs: an nnx.Rngs (its stream ``carry``) or a stream; needed only with ``carry_init``.
            carry_init: an initializer (key, shape, dtype) -> array.

        Returns:
            h (B, *S, H), or (h, c) for a ConvLSTMCell, in the cell's ``dtype``, else that of its parameters. nnx's own
            LSTM cells carry (c, h); this one carries (h, c), as all of convgru does.
        """
        dtype = self.weight_ih[...].dtype if self.dtype is None else self.dtype
        return calls.initial_state(self.title, self.spec, input_shape, dtype, calls.drawer(rngs, carry_init))[0]


class _Filled(ConvCell):
    """A cell of any kind made from its spec and arrays."""

    def __init__(self, spec: CellSpec, arrays: Arrays, **options: Any) -> None:
        self._fill(spec, arrays, **options)


class ConvGRUCell(ConvCell):
    """One step of a ConvGRU (Ballas et al. 2015, arXiv:1511.06432); the carry is h.

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + U_n*(r∘h))    h' = z∘h + (1−z)∘n

    With ``reset="after"``: n = φ(W_n*x + b_n + r∘(U_n*h + b_hn)), as cuDNN, torch.nn.GRU and nnx.GRUCell have it.
    Arguments and errors are those of ConvGRU; the parameters are ``weight_ih``, ``weight_hh``, ``bias`` and ``bias_hn``.

    Example::

        cell = ConvGRUCell(1, 8, rngs=nnx.Rngs(0))
        outputs = nnx.RNN(cell)(x)  # x (B, T, H, W, 1), outputs (B, T, H, W, 8)
    """

    kind = "gru"


class ConvLSTMCell(ConvCell):
    """One step of a ConvLSTM (Shi et al. 2015, arXiv:1506.04214), without peepholes; the carry is (h, c).

    i = σ(W_i*x + U_i*h + b_i)    f = σ(W_f*x + U_f*h + b_f)    g = φ(W_g*x + U_g*h + b_g)
    o = σ(W_o*x + U_o*h + b_o)    c' = f∘c + i∘g    h' = o∘φ(c')

    nnx's own LSTM cells carry (c, h). Arguments and errors are those of ConvLSTM.

    Example::

        cell = ConvLSTMCell(1, 8, rngs=nnx.Rngs(0))
        (h, c), outputs = nnx.RNN(cell, return_carry=True)(x)  # x (B, T, H, W, 1)
    """

    kind = "lstm"


class ConvRNNCell(ConvCell):
    """One step of a ConvRNN (Elman 1990, with convolutions); the carry is h.

    h' = φ(W*x + U*h + b), φ being ``activation``: tanh or relu. Arguments and errors are those of ConvRNN.

    Example::

        cell = ConvRNNCell(1, 8, activation="relu", rngs=nnx.Rngs(0))
        carry, h = cell(cell.initialize_carry(frame.shape), frame)  # frame (B, H, W, 1)
    """

    kind = "rnn"


CELLS: dict[str, type[ConvCell]] = {cell.kind: cell for cell in (ConvGRUCell, ConvLSTMCell, ConvRNNCell)}
"""The public cell of each kind."""


def filled(spec: CellSpec, arrays: Arrays, **options: Any) -> ConvCell:
    """The public cell of ``spec``'s kind with the arrays that ``arrays`` names after ``prefix``."""
    return calls.as_class(CELLS[spec.cell], _Filled(spec, arrays, **options))
