"""The forecaster: frames in, the frames that follow out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, Unpack

import jax
import jax.numpy as jnp
from flax import nnx

from convgru.calls import check_input, check_steps
from convgru.spec import ForecasterSpec, Ints, NetworkSpec, forecaster
from convgru_flax import arguments
from convgru_flax.arguments import Arrays
from convgru_flax.networks import filled_stack
from convgru_flax.options import NetworkOptions, checked
from convgru_flax.stacks import Call, ConvStack
from convgru_jax import compiled, masks


class Readout(nnx.Module):
    """The 1x1 convolution from the top hidden state to the (patched) change of the frame: W*h + b."""

    def __init__(self, weight: jax.Array, bias: jax.Array) -> None:
        self.weight = nnx.Param(weight)
        self.bias = nnx.Param(bias)


class Forecaster(nnx.Module):
    """Pixel unshuffle, a network, a 1x1 readout, pixel shuffle; then it feeds on its own predictions.

    prediction = unpatch(W*h + b), plus the frame it has just seen if ``residual``: ``convgru.equations.readout``.

    Args:
        cell: ``gru``, ``lstm`` or ``rnn``.
        channels: of a frame, given or predicted.
        hidden_features, kernel_size, num_layers, ndim and the rest: of the network, as in ConvGRU.
        patch: side of the square of pixels that become channels; a tuple is per dimension. Images must be multiples of it.
        residual: predict the change of the frame.
        decoder: after the given frames another network takes over from the encoder's carry: True for one like the encoder, or
            the NetworkSpec of another. The encoder's own step otherwise goes on.
        feedback: read the prediction before; otherwise zeros (Srivastava et al. 2015, arXiv:1502.04681).

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
        patch: Ints = 1,
        residual: bool = True,
        decoder: bool | NetworkSpec = False,
        feedback: bool = True,
        time_major: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Unpack[NetworkOptions],
    ) -> None:
        own = checked("Forecaster", options, NetworkOptions)
        ends = {"patch": patch, "residual": residual, "decoder": decoder, "feedback": feedback}
        spec = forecaster(cell, channels, hidden_features, kernel_size, num_layers, **ends, **own)  # type: ignore[arg-type]
        arrays = arguments.initial(spec.title, spec, rngs, param_dtype)
        self._fill(spec, arrays, Call(time_major, dtype, method, deterministic), rngs)

    def _fill(self, spec: ForecasterSpec, arrays: Arrays, call: Call, rngs: Any) -> None:
        self.patch = spec.patch
        self.residual = spec.residual
        self.feedback = spec.feedback
        arguments.check_flags(spec.title, time_major=call.time_major, deterministic=call.deterministic)
        self.time_major = call.time_major
        self.dtype = None if call.dtype is None else arguments.usable(spec.title, call.dtype)
        self.method = arguments.check_method(spec.title, call.method)
        self.deterministic = call.deterministic
        self.rngs = arguments.stream(spec.title, rngs if _random(spec) else None)
        self.encoder = filled_stack(spec.encoder, arrays, prefix="encoder.", call=call, rngs=None)
        if spec.decoder is not None:
            self.decoder = filled_stack(spec.decoder, arrays, prefix="decoder.", call=call, rngs=None)
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
        deterministic: bool | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """The forecaster that ``spec`` describes, with ``arrays`` (by canonical name) or initial ones from ``rngs``.

        ``deterministic`` None means evaluation if there are no ``rngs``, else training.
        """
        owner = f"{cls.__name__}.from_spec"
        if not isinstance(spec, ForecasterSpec):
            raise TypeError(f"{owner} expected a ForecasterSpec, got {type(spec).__name__}")
        drawn = arguments.given_or_initial(owner, spec, arrays, rngs, param_dtype)
        call = Call(time_major, dtype, method, rngs is None if deterministic is None else deterministic)
        return arguments.as_class(cls, _Filled(spec, drawn, call, rngs))

    @property
    def spec(self) -> ForecasterSpec:
        """The forecaster that this module is."""
        decoder = self.decoder.spec if hasattr(self, "decoder") else None
        return ForecasterSpec(self.encoder.spec, self.patch, self.residual, decoder, self.feedback)

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their canonical names, as ``convgru.jax`` takes them."""
        inside = {f"encoder.{name}": array for name, array in self.encoder.arrays().items()}
        if hasattr(self, "decoder"):
            inside |= {f"decoder.{name}": array for name, array in self.decoder.arrays().items()}
        return inside | {"readout.weight": self.readout.weight[...], "readout.bias": self.readout.bias[...]}

    set_view = ConvStack.set_view

    def __call__(
        self,
        x: Any,
        steps: int,
        initial_carry: Any = None,
        *,
        targets: Any = None,
        forced: Any = None,
        teacher_forcing: Any = None,
        resume: bool = False,
        deterministic: bool | None = None,
        rngs: Any = None,
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """Forecast.

        Args:
            x: the frames seen, (B, T, *S, C), or (T, B, *S, C) if ``time_major``.
            steps: how many frames to predict.
            initial_carry: None for zeros, or the encoder's carry: for each layer h (B, *S/patch, H), or (h, c) for an LSTM.
            targets: the frames that came true, ``steps`` of them, in the layout of x, for teacher forcing.
            forced: booleans (B, steps), or (steps, B) if ``time_major``: where the next step reads the target, not the prediction.
            teacher_forcing: in training, instead of ``forced``: the probability of that, which may be traced; in
                evaluation nothing is forced.
            resume: go on from an earlier call, as if it had been given more steps: x is then its last frame alone (the true one where that was
                forced) and ``initial_carry`` what it returned; the encoder reads nothing. In training recurrent dropout then draws its masks
                afresh. Static under jit.
            deterministic: evaluation if True, training if False; None means the module's own attribute.
            rngs: an nnx.Rngs (its stream ``dropout``), a stream or a key to draw dropout and teacher forcing from; a
                forecaster keeps one of its own only if it has dropout.

        Returns:
            The ``steps`` frames that follow, in the layout of x; and the carry of the network that made the last of them.

        Raises:
            ValueError: a shape, or ``steps``, is not what the forecaster expects, or there are no rngs to draw from; with ``resume``
                there is no carry, or not one frame.
            TypeError: a dtype is not that of the parameters, while the module's own ``dtype`` is None.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        layout = "TBSC" if self.time_major else "BTSC"
        spec = self.spec
        check_steps(spec.title, steps)
        arrays, x, carry = arguments.enter(
            spec.title, spec, self.arrays(), x, initial_carry, layout=layout, dtype=self.dtype
        )
        still = self.deterministic if deterministic is None else deterministic
        key = None
        if not still and (teacher_forcing is not None or _random(spec)):
            key = arguments.key_of(spec.title, self.rngs if rngs is None else rngs)
        if still and teacher_forcing is not None:
            targets = teacher_forcing = None
        return compiled.forecast(
            spec,
            arrays,
            x,
            steps,
            carry,
            targets=arguments.cast(targets, self.dtype),
            forced=forced,
            teacher_forcing=teacher_forcing,
            resume=resume,
            key=key,
            method=self.method,
            time=0 if self.time_major else 1,
        )

    def step(
        self, x: Any, carry: Any = None, *, deterministic: bool | None = None, rngs: Any = None
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """See one frame (B, *S, C): the prediction of the next, of the same shape, and the carry. Errors as in a call."""
        axis = 0 if self.time_major else 1
        check_input(self.spec.title, self.spec.channels, self.spec.ndim, jnp.shape(x), "BSC")
        frames, carry = self(jnp.expand_dims(x, axis), 1, carry, deterministic=deterministic, rngs=rngs)
        return frames[0] if axis == 0 else frames[:, 0], carry

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> tuple[Any, ...]:
        """The encoder's carry before the first frame, whose shape (B, *S, C) is ``input_shape``: zeros, or what ``carry_init`` draws."""
        spec = self.spec
        dtype = self.readout.weight[...].dtype if self.dtype is None else self.dtype
        return arguments.initial_state(spec.title, spec, input_shape, dtype, arguments.drawer(rngs, carry_init))


def _random(spec: ForecasterSpec) -> bool:
    """Whether such a forecaster draws masks in training."""
    return masks.random(spec.encoder) or (spec.decoder is not None and masks.random(spec.decoder))


class _Filled(Forecaster):
    """A forecaster made from its spec and arrays."""

    def __init__(self, spec: ForecasterSpec, arrays: Arrays, call: Call, rngs: Any) -> None:
        self._fill(spec, arrays, call, rngs)
