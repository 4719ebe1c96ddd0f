"""The forecaster: frames in, the frames that follow out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx

from convgru.shapes import check_steps
from convgru.spec import ForecasterSpec, Ints, forecaster
from convgru_flax import calls
from convgru_flax.calls import Arrays
from convgru_flax.stacks import filled_stack
from convgru_jax import core


class Readout(nnx.Module):
    """The 1x1 convolution from the top hidden state to the (patched) change of the frame: W*h + b."""

    def __init__(self, weight: jax.Array, bias: jax.Array) -> None:
        self.weight = nnx.Param(weight)
        self.bias = nnx.Param(bias)


class Forecaster(nnx.Module):
    """Pixel unshuffle, a network, a 1x1 readout, pixel shuffle; after the last given frame it feeds on its own predictions.

    prediction = unpatch(W*h + b), plus the frame it has just seen if ``residual``: ``convgru.equations.readout``.

    Args:
        cell: ``gru``, ``lstm`` or ``rnn``.
        channels: of a frame, given or predicted.
        hidden_features, kernel_size, num_layers, ndim and the rest: of the network, as in ConvGRU.
        patch: side of the square of pixels that become channels; a tuple is per dimension. Images must be multiples of it.
        residual: predict the change of the frame.

    Raises:
        ValueError, TypeError: an argument is not what it should be; the message names it.

    Example::

        net = Forecaster("gru", 1, [24, 24], patch=2, rngs=nnx.Rngs(0))
        frames, carry = net(x, steps=12)  # x (B, T, H, W, 1), frames (B, 12, H, W, 1)
    """

    def __init__(
        self,
        cell: str,
        channels: int,
        hidden_features: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        patch: Ints = 1,
        residual: bool = True,
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
        spec = forecaster(
            cell,
            channels,
            hidden_features,
            kernel_size,
            num_layers,
            ndim=ndim,
            patch=patch,
            residual=residual,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=use_bias,
            reset=reset,
            activation=activation,
        )
        arrays = calls.initial(spec.title, spec, rngs, param_dtype)
        self._fill(spec, arrays, time_major=time_major, dtype=dtype, method=method)

    def _fill(self, spec: ForecasterSpec, arrays: Arrays, *, time_major: bool, dtype: Any, method: str) -> None:
        self.patch = spec.patch
        self.residual = spec.residual
        self.time_major = time_major
        self.dtype = None if dtype is None else calls.usable(spec.title, dtype)
        self.method = calls.check_method(spec.title, method)
        self.encoder = filled_stack(
            spec.encoder, arrays, prefix="encoder.", time_major=time_major, dtype=dtype, method=method
        )
        self.readout = Readout(arrays["readout.weight"], arrays["readout.bias"])

    @classmethod
    def from_spec(
        cls,
        spec: ForecasterSpec,
        *,
        arrays: Mapping[str, Any] | None = None,
        time_major: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """The forecaster that ``spec`` describes, with ``arrays`` (by canonical name) or initial ones from ``rngs``."""
        owner = f"{cls.__name__}.from_spec"
        if not isinstance(spec, ForecasterSpec):
            raise TypeError(f"{owner} expected a ForecasterSpec, got {type(spec).__name__}")
        drawn = calls.given_or_initial(owner, spec, arrays, rngs, param_dtype)
        return calls.as_class(cls, _Filled(spec, drawn, time_major=time_major, dtype=dtype, method=method))

    @property
    def spec(self) -> ForecasterSpec:
        """The forecaster that this module is."""
        return ForecasterSpec(self.encoder.spec, self.patch, self.residual)

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their canonical names, as ``convgru.jax`` takes them."""
        inside = {f"encoder.{name}": array for name, array in self.encoder.arrays().items()}
        return inside | {"readout.weight": self.readout.weight[...], "readout.bias": self.readout.bias[...]}

    def __call__(self, x: Any, steps: int, initial_carry: Any = None) -> tuple[jax.Array, tuple[Any, ...]]:
        """Forecast.

        Args:
            x: the frames seen, (B, T, *S, C), or (T, B, *S, C) if ``time_major``.
            steps: how many frames to predict.
            initial_carry: None for zeros, or the encoder's carry: for each layer h (B, *S/patch, H), or (h, c) for an LSTM.

        Returns:
            The ``steps`` frames that follow, in the layout of x; and the encoder's carry after the last frame that it consumed.

        Raises:
            ValueError: a shape, or ``steps``, is not what the forecaster expects.
            TypeError: a dtype is not that of the parameters, while the module's own ``dtype`` is None.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        layout = "TBSC" if self.time_major else "BTSC"
        spec = self.spec
        check_steps(spec.title, steps)
        arrays, x, carry = calls.enter(
            spec.title, spec, self.arrays(), x, initial_carry, layout=layout, dtype=self.dtype
        )
        frames, carry = core.forecast(spec, arrays, calls.between(self.time_major, x), steps, carry, method=self.method)
        return calls.between(self.time_major, frames), carry

    def step(self, x: Any, carry: Any = None) -> tuple[jax.Array, tuple[Any, ...]]:
        """See one frame (B, *S, C): the prediction of the next, of the same shape, and the encoder's carry. Errors as in a call."""
        spec = self.spec
        arrays, x, carry = calls.enter(spec.title, spec, self.arrays(), x, carry, layout="BSC", dtype=self.dtype)
        frames, carry = core.forecast(spec, arrays, x[None], 1, carry, method=self.method)
        return frames[0], carry

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> tuple[Any, ...]:
        """The encoder's carry before the first frame, whose shape (B, *S, C) is ``input_shape``: zeros, or what ``carry_init`` draws."""
        spec = self.spec
        dtype = self.readout.weight[...].dtype if self.dtype is None else self.dtype
        return calls.initial_state(spec.title, spec, input_shape, dtype, calls.drawer(rngs, carry_init))


class _Filled(Forecaster):
    """A forecaster made from its spec and arrays."""

    def __init__(self, spec: ForecasterSpec, arrays: Arrays, **options: Any) -> None:
        self._fill(spec, arrays, **options)
