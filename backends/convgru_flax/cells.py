"""The cells: one layer and one step, as an nnx.RNNCellBase that nnx.RNN can drive."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, ClassVar, Self, Unpack

import jax
import jax.numpy as jnp
from flax import nnx

from convgru.spec import CellSpec, Ints, NetworkSpec, network
from convgru.spec.shapes import cell_parameter_shapes, layer_prefix, step_prefixes
from convgru_flax import arguments
from convgru_flax.arguments import Arrays
from convgru_flax.options import CellOptions, checked
from convgru_jax import arguments as jax_arguments
from convgru_jax import compiled


class Update(nnx.Module):
    """The parameters of one of a cell's steps, where it takes several in a row on one state (``updates``)."""

    def __init__(self, arrays: Arrays) -> None:
        for name, array in arrays.items():
            setattr(self, name, nnx.Param(array))


class ConvCell(nnx.RNNCellBase):
    """What the three cells share: parameters by their short names, and one step of ``convgru.equations``."""

    kind: ClassVar[str] = "gru"
    weight_ih: nnx.Param[jax.Array]
    weight_hh: nnx.Param[jax.Array]
    bias: nnx.Param[jax.Array] | None
    bias_hn: nnx.Param[jax.Array] | None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        arguments.name_constructor(cls)

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        kernel_size: Ints = 3,
        *,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        rngs: nnx.Rngs,
        **options: Unpack[CellOptions],
    ) -> None:
        own = checked(type(self).__name__, options, CellOptions)
        spec = network(self.kind, in_features, hidden_features, kernel_size, 1, **own)
        arrays = arguments.initial(f"{spec.title}Cell", spec, rngs, param_dtype)
        self._fill(spec.layers[0], arrays, prefix=layer_prefix(0), dtype=dtype, method=method)

    def _fill(self, spec: CellSpec, arrays: Arrays, *, prefix: str, dtype: Any, method: str) -> None:
        self.cell_spec = spec
        own = {name: arrays[prefix + name] for name in cell_parameter_shapes(spec)}
        if spec.updates:
            self.updates = nnx.List(
                Update({name[len(inner) :]: array for name, array in own.items() if name.startswith(inner)})
                for inner in step_prefixes(spec)
            )
        else:
            for name in ("bias", "bias_hn"):
                setattr(self, name, nnx.data(None))
            for name, array in own.items():
                setattr(self, name, nnx.Param(array))
        self.dtype = None if dtype is None else arguments.usable(self.title, dtype)
        self.method = arguments.check_method(self.title, method)

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
        arguments.check_kind(owner, cls.kind, spec)
        if len(spec.layers) != 1:
            raise ValueError(f"{owner} expected a spec of one layer, got {len(spec.layers)}")
        drawn = arguments.given_or_initial(owner, spec, arrays, rngs, param_dtype)
        return arguments.as_class(
            cls, _Filled(spec.layers[0], drawn, prefix=layer_prefix(0), dtype=dtype, method=method)
        )

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
        names = cell_parameter_shapes(self.cell_spec)
        start: Any = self
        return {name: reduce(_child, name.split("."), start)[...] for name in names}

    def __call__(self, carry: Any, inputs: Any, context: Any = None) -> tuple[Any, jax.Array]:
        """One step.

        Args:
            carry: h (B, *S, H), or (h, c) for a ConvLSTMCell.
            inputs: one frame (B, *S, C).
            context: added to the pre-activations of all gates, (B, *S, G·H).

        Returns:
            The new carry, and the output, which is the new h.

        Raises:
            ValueError: a shape is not what the cell expects.
            TypeError: a dtype is not that of the parameters, while the cell's own ``dtype`` is None.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        arrays, x, state = arguments.enter(
            self.title, self.spec, self.arrays(), inputs, (carry,), layout="BSC", dtype=self.dtype
        )
        pair = len(self.cell_spec.state_names) > 1
        if context is not None:
            call = jax_arguments.Call(1, x.shape[0], x.shape[1:-1], x.dtype)
            given = (arguments.cast(context, self.dtype),)
            (context,) = jax_arguments.checked_extras(self.spec, call, None, given, None).context or (None,)
        start = state[0] if pair else state
        new = compiled.cell_step(self.cell_spec, arrays, x, start, context=context, method=self.method)
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
        dtype = next(iter(self.arrays().values())).dtype if self.dtype is None else self.dtype
        return arguments.initial_state(self.title, self.spec, input_shape, dtype, arguments.drawer(rngs, carry_init))[0]


def _child(node: Any, name: str) -> Any:
    return node[int(name)] if name.isdigit() else getattr(node, name)


class _Filled(ConvCell):
    """A cell of any kind made from its spec and arrays."""

    def __init__(self, spec: CellSpec, arrays: Arrays, **options: Any) -> None:
        self._fill(spec, arrays, **options)


class ConvGRUCell(ConvCell):
    """One step of a ConvGRU (Ballas et al. 2015, arXiv:1511.06432); the carry is h.

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + U_n*(r∘h))    h' = z∘h + (1−z)∘n

    With ``reset="after"``: n = φ(W_n*x + b_n + r∘(U_n*h + b_hn)), as cuDNN, torch.nn.GRU and nnx.GRUCell have it.
    Arguments and errors are those of ConvGRU, but for what concerns several layers or frames, dropout and zoneout among it.
    The parameters are ``weight_ih``, ``weight_hh``, ``bias`` and ``bias_hn``, with a norm ``norm_weight`` and ``norm_bias``;
    with ``updates`` those of each step stand at ``updates.0`` ….

    Example::

        cell = ConvGRUCell(1, 8, rngs=nnx.Rngs(0))
        outputs = nnx.RNN(cell)(x)  # x (B, T, H, W, 1), outputs (B, T, H, W, 8)
    """

    kind = "gru"


class ConvLSTMCell(ConvCell):
    """One step of a ConvLSTM (Shi et al. 2015, arXiv:1506.04214); the carry is (h, c).

    i = σ(W_i*x + U_i*h + P_i·c + b_i)    f = σ(W_f*x + U_f*h + P_f·c + b_f)    g = φ(W_g*x + U_g*h + b_g)
    c' = f∘c + i∘g    o = σ(W_o*x + U_o*h + P_o·c' + b_o)    h' = o∘φ(c')

    P is absent, or by ``peephole`` elementwise (``hadamard``) or a convolution (``conv``). nnx's own LSTM cells carry
    (c, h). Arguments and errors are those of ConvLSTM.

    Example::

        cell = ConvLSTMCell(1, 8, rngs=nnx.Rngs(0))
        (h, c), outputs = nnx.RNN(cell, return_carry=True)(x)  # x (B, T, H, W, 1)
    """

    kind = "lstm"


class ConvRNNCell(ConvCell):
    """One step of a ConvRNN (Elman 1990, with convolutions); the carry is h.

    h' = φ(W*x + U*h + b), φ being ``activation``. Arguments and errors are those of ConvRNN.

    Example::

        cell = ConvRNNCell(1, 8, activation="relu", rngs=nnx.Rngs(0))
        carry, h = cell(cell.initialize_carry(frame.shape), frame)  # frame (B, H, W, 1)
    """

    kind = "rnn"


CELLS: dict[str, type[ConvCell]] = {cell.kind: cell for cell in (ConvGRUCell, ConvLSTMCell, ConvRNNCell)}
"""The public cell of each kind."""


def filled(spec: CellSpec, arrays: Arrays, **options: Any) -> ConvCell:
    """The public cell of ``spec``'s kind with the arrays that ``arrays`` names after ``prefix``."""
    return arguments.as_class(CELLS[spec.cell], _Filled(spec, arrays, **options))
