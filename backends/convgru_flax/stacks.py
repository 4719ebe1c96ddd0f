"""The networks: layers of cells over whole sequences, or one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import nnx

from convgru.shapes import layer_prefix
from convgru.spec import Ints, NetworkSpec, network
from convgru_flax import calls
from convgru_flax.calls import Arrays
from convgru_flax.cells import ConvCell, filled
from convgru_jax import core


class Layer(nnx.Module):
    """One layer; its cell stands at ``fwd``, so that paths are the canonical names."""

    def __init__(self, fwd: ConvCell) -> None:
        self.fwd = fwd


class ConvStack(nnx.Module):
    """What the three networks share: layers at ``layers.{l}.fwd``, and the call over a sequence."""

    kind: ClassVar[str] = "gru"

    def __init__(
        self,
        in_features: int,
        hidden_features: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        recurrent_kernel_size: Ints | list[Ints] | None = None,
        dilation: Ints | list[Ints] = 1,
        recurrent_dilation: Ints | list[Ints] | None = None,
        padding: Any = "same",
        use_bias: bool = True,
        reset: str | None = None,
        activation: str = "tanh",
        time_major: bool = False,
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
            num_layers,
            ndim=ndim,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=use_bias,
            reset=reset,
            activation=activation,
        )
        arrays = calls.initial(spec.title, spec, rngs, param_dtype)
        self._fill(spec, arrays, prefix="", time_major=time_major, dtype=dtype, method=method)

    def _fill(
        self, spec: NetworkSpec, arrays: Arrays, *, prefix: str, time_major: bool, dtype: Any, method: str
    ) -> None:
        self.time_major = time_major
        self.dtype = None if dtype is None else calls.usable(spec.title, dtype)
        self.method = calls.check_method(spec.title, method)
        self.layers = nnx.List(
            Layer(filled(cell, arrays, prefix=prefix + layer_prefix(index), dtype=dtype, method=method))
            for index, cell in enumerate(spec.layers)
        )

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec,
        *,
        arrays: Mapping[str, Any] | None = None,
        time_major: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """The network that ``spec`` describes, with ``arrays`` (by canonical name) or initial ones from ``rngs``."""
        owner = f"{cls.__name__}.from_spec"
        calls.check_kind(owner, cls.kind, spec)
        drawn = calls.given_or_initial(owner, spec, arrays, rngs, param_dtype)
        return calls.as_class(cls, _Filled(spec, drawn, prefix="", time_major=time_major, dtype=dtype, method=method))

    @property
    def spec(self) -> NetworkSpec:
        """The network that this module is."""
        return NetworkSpec(tuple(layer.fwd.cell_spec for layer in self.layers))

    @property
    def in_features(self) -> int:
        """Channels of the input."""
        return self.spec.in_channels

    @property
    def out_features(self) -> int:
        """Channels of the output: the last layer's hidden_features."""
        return self.spec.out_channels

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their canonical names, as ``convgru.jax`` takes them."""
        return {
            layer_prefix(index) + name: array
            for index, layer in enumerate(self.layers)
            for name, array in layer.fwd.arrays().items()
        }

    def __call__(self, x: Any, initial_carry: Any = None) -> tuple[jax.Array, tuple[Any, ...]]:
        """Run over a sequence.

        Args:
            x: frames (B, T, *S, C), or (T, B, *S, C) if ``time_major``.
            initial_carry: None for zeros, or a tuple with one entry for each layer: h (B, *S, H), or (h, c) for an LSTM.

        Returns:
            The last layer's h at every frame, in the layout of x; and the carry after the last frame.

        Raises:
            ValueError: a shape is not what the network expects.
            TypeError: a dtype is not that of the parameters, while the module's own ``dtype`` is None.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        layout = "TBSC" if self.time_major else "BTSC"
        spec = self.spec
        arrays, x, carry = calls.enter(
            spec.title, spec, self.arrays(), x, initial_carry, layout=layout, dtype=self.dtype
        )
        y, carry = core.run(spec, arrays, calls.between(self.time_major, x), carry, method=self.method)
        return calls.between(self.time_major, y), carry

    def step(self, x: Any, carry: Any = None) -> tuple[jax.Array, tuple[Any, ...]]:
        """One frame (B, *S, C): what the sequence call gives for it, (B, *S, H), and the carry after it. Errors as there."""
        spec = self.spec
        arrays, x, carry = calls.enter(spec.title, spec, self.arrays(), x, carry, layout="BSC", dtype=self.dtype)
        return core.step(spec, arrays, x, carry, method=self.method)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> tuple[Any, ...]:
        """The carry before the first frame, whose shape (B, *S, C) is ``input_shape``: zeros, or what ``carry_init`` draws."""
        spec = self.spec
        dtype = self.layers[0].fwd.weight_ih[...].dtype if self.dtype is None else self.dtype
        return calls.initial_state(spec.title, spec, input_shape, dtype, calls.drawer(rngs, carry_init))


class _Filled(ConvStack):
    """A network of any kind made from its spec and arrays."""

    def __init__(self, spec: NetworkSpec, arrays: Arrays, **options: Any) -> None:
        self._fill(spec, arrays, **options)


class ConvGRU(ConvStack):
    """Layers of convolutional GRUs (Ballas et al. 2015, arXiv:1511.06432). ConvGRUCell gives the equations.

    Args:
        in_features: channels of the input.
        hidden_features: channels of the hidden state; a list is per layer.
        kernel_size: of the input's convolution; a tuple is per dimension, a list per layer.
        num_layers: None means the length of the lists given, else 1.
        ndim: spatial dimensions: 1, 2 or 3.
        recurrent_kernel_size: of the state's convolution; None means ``kernel_size``.
        dilation, recurrent_dilation: of the two convolutions; the second defaults to the first.
        padding: of the input's convolution: ``same``, ``valid``, a number, or a tuple with a number or (low, high) per dimension.
        use_bias: whether there are biases.
        reset: ``before`` (which None means) or ``after``; a GRU's only.
        activation: ``tanh`` or ``relu``.
        time_major: x and output are (T, B, *S, C) instead of (B, T, *S, C).
        dtype: what to compute in: parameters, input and carry are cast to it. None: all must have the parameters' dtype.
        param_dtype: of the parameters.
        method: ``fast``, or ``plain`` for what the fast gradient cannot do (forward mode).
        rngs: draws the initial parameters, from its stream ``params``: weight_ih Glorot uniform, weight_hh orthogonal, gate by gate.

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
    return calls.as_class(STACKS[spec.cell], _Filled(spec, arrays, **options))
