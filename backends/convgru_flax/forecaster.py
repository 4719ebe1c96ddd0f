"""The forecaster: frames in, the frames that follow out."""

from __future__ import annotations

from typing import Any, Unpack

import jax
from flax import nnx

from convgru.spec import ForecasterSpec, Ints, NetworkSpec
from convgru.spec.options import explicit
from convgru_flax import arguments, parameters
from convgru_flax.modules import SequenceModule
from convgru_flax.options import DEFAULTS, ForecasterOptions, forecaster_spec, split
from convgru_flax.parameters import Params
from convgru_flax.stacks import STACKS, ConvStack
from convgru_jax import functional
from convgru_jax.compiled import Options


class Readout(nnx.Module):
    """The 1x1 convolution W*h + b from the top hidden state to the frame's (patched) change."""

    def __init__(self, weight: nnx.Param[jax.Array], bias: nnx.Param[jax.Array]) -> None:
        self.weight = weight
        self.bias = bias


@explicit(ForecasterOptions, {**DEFAULTS, "reset": None})
class Forecaster(SequenceModule[ForecasterSpec]):
    """Forecast frames: pixel unshuffle, network, 1x1 readout, pixel shuffle, fed back to itself.

    prediction = unpatch(W*h + b), plus the frame it has just seen if ``residual``:
    ``convgru.equations.readout``.

    Args:
        cell: ``gru``, ``lstm`` or ``rnn``; or a ForecasterSpec instead of all arguments that
            describe the networks.
        channels: of a frame, given or predicted.
        hidden_features: channels of the hidden state; a list is per layer.
        kernel_size: of the convolution over the input, None means 3; a tuple is per dimension, a
            list per layer.
        num_layers: None means the length of a list of hidden_features, else 1.
        patch: side of the square of pixels that become channels; a tuple is per dimension. Image
            sizes are multiples of it.
        residual: predict the change of the frame.
        decoder: after the given frames another network takes over from the encoder's carry: True
            for one like the encoder, or the NetworkSpec of another. The encoder's own step
            otherwise goes on.
        feedback: read the prediction before; otherwise zeros (Srivastava et al. 2015,
            arXiv:1502.04681).
        **options: the others of ConvGRU and ConvLSTM, but ``bidirectional``, ``merge`` and
            ``output_size``. Initializers and metadata are for the layers; the readout keeps its
            own.

    Raises:
        ValueError, TypeError: for arguments that describe no forecaster, naming the argument.

    Example::

        net = Forecaster("gru", 1, [24, 24], patch=2, rngs=nnx.Rngs(0))
        frames, carry = net(x, steps=12)  # x (B, T, H, W, 1), frames (B, 12, H, W, 1)
    """

    _spec_type = ForecasterSpec
    encoder: ConvStack
    decoder: ConvStack | None

    def __init__(
        self,
        cell: str | ForecasterSpec,
        channels: int | None = None,
        hidden_features: int | list[int] | None = None,
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        **options: Unpack[ForecasterOptions],
    ) -> None:
        title = type(self).__name__
        described, stored, called = split(title, options, ForecasterOptions)
        spec = forecaster_spec(title, cell, channels, hidden_features, kernel_size, num_layers, described)
        params = parameters.create(title, spec, **stored)
        self._set_options(spec, stored.get("rngs"), **called)
        self.encoder = self._network("encoder", spec.encoder, params)
        self.decoder = nnx.data(None) if spec.decoder is None else self._network("decoder", spec.decoder, params)
        self.readout = Readout(params["readout.weight"], params["readout.bias"])

    def _network(self, name: str, spec: NetworkSpec, params: Params) -> ConvStack:
        """Make the encoder or the decoder, around its share of the parameters."""
        params_of_network = {
            n.removeprefix(f"{name}."): param for n, param in params.items() if n.startswith(f"{name}.")
        }
        return STACKS[spec.cell].from_spec(
            spec,
            arrays=params_of_network,
            time_major=self.time_major,
            dtype=self.dtype,
            method=self.method,
            deterministic=self.deterministic,
        )

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their canonical names, as ``convgru.jax`` takes them.

        Raises ValueError for a network or cell that computes something else than the forecaster's
        spec says.
        """
        arrays: dict[str, jax.Array] = {}
        for part, spec in (("encoder", self.spec.encoder), ("decoder", self.spec.decoder)):
            if spec is not None:
                network: ConvStack = getattr(self, part)
                self._check_part(part, network, STACKS[spec.cell], spec)
                arrays |= {f"{part}.{name}": array for name, array in network.arrays().items()}
        readout = self.readout
        return arrays | {"readout.weight": readout.weight.get_value(), "readout.bias": readout.bias.get_value()}

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
        """Predict the ``steps`` frames that follow x.

        Args:
            x: the frames seen, (B, T, *S, C), or (T, B, *S, C) if ``time_major``.
            steps: how many frames to predict.
            initial_carry: None for zeros, or the encoder's carry: for each layer h (B, *S/patch,
                H), or (h, c) for an LSTM.
            targets: the frames that came true, ``steps`` of them, in the layout of x, for teacher
                forcing.
            forced: booleans (B, steps), or (steps, B) if ``time_major``: where the next step reads
                the target, not the prediction.
            teacher_forcing: in training, instead of ``forced``: the probability of that, which may
                be traced; in evaluation nothing is forced.
            resume: go on from an earlier call, as if it had been given more steps: x is then its
                last frame alone (the true one where that was forced) and ``initial_carry`` what it
                returned; the encoder reads nothing. In training recurrent dropout then draws its
                masks afresh. Static under jit.
            deterministic: evaluation if True, training if False; None means the module's own
                attribute.
            rngs: an nnx.Rngs (its stream ``dropout``), a stream or a key to draw dropout and
                teacher forcing from; a forecaster keeps one of its own only if it has dropout.

        Returns:
            The ``steps`` frames that follow, in the layout of x; and the carry of the network that
            made the last of them.

        Raises:
            ValueError: a shape, or ``steps``, is not what the forecaster expects, or there are no
                rngs to draw from; with ``resume`` there is no carry, or not one frame.
            TypeError: something is not an array of real numbers.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        evaluates = self._evaluates(deterministic)
        if evaluates and teacher_forcing is not None:
            targets = teacher_forcing = None
        key = self._key(not evaluates and (teacher_forcing is not None or self._draws_masks), rngs)
        computed = (self.arrays(), x, initial_carry)
        (arrays, x, carry), targets = arguments.promote(type(self).__name__, self.dtype, computed, targets)
        options = Options(self.method, resume=resume, checkpoint_frames=self.checkpoint_frames)
        teaching = (targets, forced, teacher_forcing)
        return functional.run_forecast(self._caller(self._layout), arrays, x, steps, carry, teaching, key, options)

    def step(
        self, x: Any, carry: Any = None, *, deterministic: bool | None = None, rngs: Any = None
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """Read one frame x (B, *S, C); return the prediction of the next one, and the carry.

        Errors as in a call.
        """
        self._caller("BSC").input(x, str(getattr(x, "dtype", "")))
        one = x[None] if self.time_major else x[:, None]  # not JAX's, which makes float32 of float64 unasked
        frames, carry = self(one, 1, carry, deterministic=deterministic, rngs=rngs)
        return frames[0] if self.time_major else frames[:, 0], carry
