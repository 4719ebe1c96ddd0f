"""The cells: one layer and one step, as an nnx.RNNCellBase that nnx.RNN can drive."""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar, Self, Unpack

import jax
from flax import nnx

from convgru.spec import CellSpec, Ints, NetworkSpec
from convgru.spec.options import explicit
from convgru.spec.shapes import cell_parameter_shapes, layer_prefix, step_prefixes
from convgru_flax import arguments, parameters
from convgru_flax.options import (
    DEFAULTS,
    GRUCellOptions,
    LSTMCellOptions,
    RNNCellOptions,
    check_spec,
    network_spec,
    split,
)
from convgru_flax.parameters import Params
from convgru_jax import arguments as jax_arguments
from convgru_jax import functional


class Update(nnx.Module):
    """The parameters of one step of a cell that takes several on one state (``updates``)."""

    def __init__(self, params: Params) -> None:
        for name, param in params.items():
            setattr(self, name, param)


class ConvCell(nnx.RNNCellBase):
    """Base of the three cells: parameters by short name, one step of ``convgru.equations``."""

    kind: ClassVar[str]
    weight_ih: nnx.Param[jax.Array]
    weight_hh: nnx.Param[jax.Array]
    bias: nnx.Param[jax.Array] | None
    bias_hn: nnx.Param[jax.Array] | None

    def _build(
        self, in_features: Any, hidden_features: Any, kernel_size: Ints | None, options: Any, table: type
    ) -> None:
        """Make the cell from its constructor's arguments; ``table`` lists the options it has."""
        title = type(self).__name__
        described, stored, called = split(title, options, table)
        spec = network_spec(title, self.kind, in_features, hidden_features, kernel_size, None, described)
        if spec != NetworkSpec(spec.layers[:1]):
            raise ValueError(f"{title} expected one layer in one direction, without dropout, got {spec}")
        self.spec = spec
        dtype = called.get("dtype")
        self.dtype = None if dtype is None else arguments.supported_dtype(title, dtype)
        self.method = arguments.check_method(title, called.get("method", "fast"))
        self._place(parameters.create(title, spec, **stored))

    def _place(self, params: Params) -> None:
        """Hold the parameters under their short names."""
        short = {name.removeprefix(layer_prefix(0)): param for name, param in params.items()}
        if self._layer.updates:
            self.updates = nnx.List(
                Update({name[len(prefix) :]: param for name, param in short.items() if name.startswith(prefix)})
                for prefix in step_prefixes(self._layer)
            )
            return
        for name in ("bias", "bias_hn"):
            setattr(self, name, nnx.data(None))
        for name, param in short.items():
            setattr(self, name, param)

    @classmethod
    def from_spec(cls, spec: NetworkSpec, **options: Any) -> Self:
        """Make the cell that a spec of one layer describes; the same as ``cls(spec, **options)``.

        Options are the arguments of the constructor that do not describe the cell: ``rngs`` or
        ``arrays``, ``dtype`` and so on. Raises TypeError and ValueError, as the constructor does.
        """
        check_spec(f"{cls.__name__}.from_spec", spec, NetworkSpec)
        return cls(spec, **options)  # type: ignore[call-arg]

    @property
    def _layer(self) -> CellSpec:
        return self.spec.layers[0]

    @property
    def in_features(self) -> int:
        """Channels of the input."""
        return self._layer.in_channels

    @property
    def hidden_features(self) -> int:
        """Channels of the hidden state."""
        return self._layer.hidden_channels

    @property
    def num_feature_axes(self) -> int:
        """Number of axes of a frame without batch: space and channels; nnx.RNN asks for it."""
        return self.spec.ndim + 1

    def arrays(self, prefix: str = "") -> dict[str, jax.Array]:
        """The parameters' arrays by short name (``weight_ih``), after ``prefix``."""
        names = cell_parameter_shapes(self._layer)
        module: Any = self
        return {prefix + name: reduce(_child, name.split("."), module).get_value() for name in names}

    def __call__(self, carry: Any, inputs: Any, context: Any = None) -> tuple[Any, jax.Array]:
        """Take one step; returns (carry, output) as every nnx.RNNCellBase does.

        The networks return (output, carry).

        Args:
            carry: h (B, *S, H), or (h, c) for a ConvLSTMCell; ``initialize_carry`` makes the first.
            inputs: one frame (B, *S, C).
            context: added to the pre-activations of all G gates, (B, *S, G·H).

        Returns:
            carry: the new h, or the new (h, c).
            output: the new h.

        Raises:
            ValueError: a shape is not what the cell expects.
            TypeError: something is not an array of real numbers.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        title = type(self).__name__
        if inputs is None:
            raise TypeError(f"{title} expected (carry, inputs), the order of nnx, got None for inputs")
        computed = (self.arrays(layer_prefix(0)), inputs, (carry,), None if context is None else (context,))
        (arrays, x, state, contexts), _ = arguments.promote(title, self.dtype, computed)
        caller = jax_arguments.caller_of(self.spec, "BSC", self.method, title)
        output, (new,) = functional.run_step(caller, arrays, x, state, contexts, None, None, self.method)
        return new, output

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Any:
        """Make the carry before the first frame: zeros, or drawn by ``carry_init``.

        Args:
            input_shape: the shape (B, *S, C) of one frame.
            rngs: an nnx.Rngs (its stream ``carry``) or a stream; needed only with ``carry_init``.
            carry_init: an initializer (key, shape, dtype) -> array.

        Returns:
            h (B, *S, H), or (h, c) for a ConvLSTMCell, in the cell's ``dtype``, else that of its
            parameters. nnx's LSTM cells carry (c, h); this one (h, c), as all of convgru does.
        """
        dtype = next(iter(self.arrays().values())).dtype if self.dtype is None else self.dtype
        return arguments.initial_carry(type(self).__name__, self.spec, input_shape, dtype, rngs, carry_init)[0]


def _child(node: Any, name: str) -> Any:
    return node[int(name)] if name.isdigit() else getattr(node, name)


@explicit(GRUCellOptions, DEFAULTS)
class ConvGRUCell(ConvCell):
    """One step of a ConvGRU (Ballas et al. 2015, arXiv:1511.06432): ``cell(h, x)`` is (h', h').

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + U_n*(r∘h))    h' = z∘h + (1−z)∘n

    With ``reset="after"``: n = φ(W_n*x + b_n + r∘(U_n*h + b_hn)), as cuDNN, torch.nn.GRU and
    nnx.GRUCell have it.

    Args:
        in_features: channels C of the input; or a NetworkSpec of one layer instead of all arguments
            that describe the cell.
        hidden_features: channels H of the hidden state.
        kernel_size: of the convolution over the input, None means 3; a tuple is per dimension.
        recurrent_kernel_size: of the convolution over h; None means ``kernel_size``.
        stride: of the convolution over the input; the carry is smaller than the frame.
        recurrent_stride: of the convolution over h, which keeps its size.
        dilation: of the convolution over the input.
        recurrent_dilation: of the convolution over h; None means ``dilation``.
        groups: into which the channels of each gate are divided.
        padding: ``same``, ``valid``, ``preserve`` (the size of the frame at any stride), a number,
            or a tuple with a number or a (low, high) pair for each dimension.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        reset: ``before`` or ``after``.
        activation: φ: ``tanh``, ``relu``, ``leaky_relu``, ``sigmoid``, ``hard_sigmoid`` or
            ``hard_sigmoid_0.2``.
        recurrent_activation: σ, one of the same.
        norm: group norm of the pre-activations: a number of groups (1: layer norm), a tuple, or a
            convgru.spec.Norm.
        updates: kernel sizes of several steps in a row on one state (RAFT's SepConvGRU), instead of
            ``kernel_size``.
        ndim: spatial dimensions: 1, 2 or 3.
        use_bias: if False, the cell has no bias.
        dtype: what to compute in. None: parameters, input and carry promote together, as in
            nnx.GRUCell.
        param_dtype: of the initial parameters.
        method: ``fast``, or ``plain`` for JAX's own derivatives of the convolution.
        kernel_init, recurrent_kernel_init, bias_init: initializers (key, shape, dtype) -> array of
            weight_ih, weight_hh and the biases, called for each gate and group with the shape of
            nnx.Conv's kernel: (*k, C/groups, H/groups), (H,). None: Glorot uniform; orthogonal;
            zeros, and ones for a forget gate.
        kernel_metadata, recurrent_kernel_metadata, bias_metadata: of the nnx.Param, such as
            ``out_sharding``, for the stored array.
        arrays: the parameters by canonical name (``layers.0.fwd.weight_ih``), instead of initial
            ones.
        rngs: draws the initial parameters from its stream ``params``; needless with ``arrays``.

    Parameters: weight_ih (3H, C/groups, *k), weight_hh (3H, H/groups, *k), bias (3H), for ``after``
    bias_hn (H); gates in the order r, z, n; with a norm norm_weight and norm_bias (3H); with
    updates ``updates.0.weight_ih`` and so on.

    Raises:
        ValueError, TypeError: for arguments that describe no cell, naming the argument.

    Example::

        cell = ConvGRUCell(1, 8, rngs=nnx.Rngs(0))
        outputs = nnx.RNN(cell)(x)  # x (B, T, H, W, 1), outputs (B, T, H, W, 8)
    """

    kind = "gru"

    def __init__(
        self,
        in_features: int | NetworkSpec,
        hidden_features: int | None = None,
        kernel_size: Ints | None = None,
        **options: Unpack[GRUCellOptions],
    ) -> None:
        self._build(in_features, hidden_features, kernel_size, options, GRUCellOptions)


@explicit(LSTMCellOptions, DEFAULTS)
class ConvLSTMCell(ConvCell):
    """One step of a ConvLSTM (Shi et al. 2015, arXiv:1506.04214): ``cell((h, c), x)``.

    Returns ((h', c'), h').

        i = σ(W_i*x + U_i*h + P_i·c + b_i)     f = σ(W_f*x + U_f*h + P_f·c + b_f)
        g = φ(W_g*x + U_g*h + b_g)             c' = f∘c + i∘g
        o = σ(W_o*x + U_o*h + P_o·c' + b_o)    h' = o∘φ(c')

    nnx's own LSTM cells carry (c, h). Arguments as for ConvGRUCell, without ``reset``, and

    Args:
        peephole: P: None; ``hadamard``: a weight for each channel, or with ``state_size`` for each
            pixel; ``conv``: a convolution.
        state_size: the spatial size of the carry that a ``hadamard`` peephole is tied to.

    Example::

        cell = ConvLSTMCell(1, 8, rngs=nnx.Rngs(0))
        (h, c), outputs = nnx.RNN(cell, return_carry=True)(x)  # x (B, T, H, W, 1)
    """

    kind = "lstm"

    def __init__(
        self,
        in_features: int | NetworkSpec,
        hidden_features: int | None = None,
        kernel_size: Ints | None = None,
        **options: Unpack[LSTMCellOptions],
    ) -> None:
        self._build(in_features, hidden_features, kernel_size, options, LSTMCellOptions)


@explicit(RNNCellOptions, DEFAULTS)
class ConvRNNCell(ConvCell):
    """One step of a ConvRNN (Elman 1990, with convolutions): ``cell(h, x)`` is (h', h').

    h' = φ(W*x + U*h + b)

    Arguments as for ConvGRUCell, without ``reset``; φ is ``activation``.

    Example::

        cell = ConvRNNCell(1, 8, activation="relu", rngs=nnx.Rngs(0))
        carry, h = cell(cell.initialize_carry(frame.shape), frame)  # frame (B, H, W, 1)
    """

    kind = "rnn"

    def __init__(
        self,
        in_features: int | NetworkSpec,
        hidden_features: int | None = None,
        kernel_size: Ints | None = None,
        **options: Unpack[RNNCellOptions],
    ) -> None:
        self._build(in_features, hidden_features, kernel_size, options, RNNCellOptions)


CELLS: dict[str, type[ConvCell]] = {cell.kind: cell for cell in (ConvGRUCell, ConvLSTMCell, ConvRNNCell)}
"""The public cell of each kind."""
