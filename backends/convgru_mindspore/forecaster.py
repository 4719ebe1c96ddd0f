"""The forecaster: frames in, the frames that follow out."""

from __future__ import annotations

from typing import Any, Unpack

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru import spec as specs
from convgru.calls import flags
from convgru.spec import ForecasterSpec, Ints, NetworkSpec, describe
from convgru.spec.fields import one_of
from convgru.spec.shapes import zero_state_shapes
from convgru.weights import Weights
from convgru_mindspore import arguments, forecast, graph_checks, ops
from convgru_mindspore.export import refuse_frozen
from convgru_mindspore.options import DEFAULTS, IMPLS, ForecasterOptions, explicit, split_options
from convgru_mindspore.parameters import (
    SequenceCell,
    check_flags,
    is_pair,
    parameter,
    part_of,
    starting_weights,
)
from convgru_mindspore.precision import MixedPrecisionCell
from convgru_mindspore.stacks import STACKS


class Readout(MixedPrecisionCell):
    """The 1x1 convolution's parameters, ``weight`` and ``bias``."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        self.weight = parameter(weight, "weight")
        self.bias = parameter(bias, "bias")

    def prepared(self, ndim: int) -> Any:
        """The readout's parameters as the ops read them."""
        return ops.prepare_readout(ndim, self.weight, self.bias, self.compute_dtype)


class ForecasterBase(SequenceCell):
    """A forecaster without its constructor.

    MindSpore's rewriter (``mindspore.amp``, O1) takes a base class as it stands, and trips over a
    construct in the class.
    """

    spec: ForecasterSpec

    def _set_spec(
        self, spec: ForecasterSpec, weights: Weights | None, dtype: Any, batch_first: bool, impl: str = "auto"
    ) -> None:
        check_flags(spec.title, batch_first=batch_first)
        one_of(f"{spec.title} impl", impl, IMPLS)
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.batch_first, self.name_in_errors = spec, batch_first, type(self).__name__
        self.layout = "BTCS" if batch_first else "TBCS"
        self.impl, self.decodes, self.pairs = impl, spec.decoder is not None, is_pair(spec)
        kind = STACKS[spec.encoder.cell]
        self.encoder = kind.from_spec(spec.encoder, weights=part_of(weights, spec.encoder, "encoder."))
        if spec.decoder is not None:
            self.decoder = kind.from_spec(spec.decoder, weights=part_of(weights, spec.decoder, "decoder."))
        self.readout = Readout(weights.arrays["readout.weight"], weights.arrays["readout.bias"])
        self.set_train(False)  # said aloud: a graph compiled before the first set_train would never see a later one

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters and of the state."""
        return self.readout.weight.dtype

    def zero_state(self, batch: int, size: tuple[int, ...]) -> Any:
        """The encoder's initial state: zeros, for ``batch`` sequences of ``size`` pixels."""
        return arguments.zeros(zero_state_shapes(self.name_in_errors, self.spec, batch, size), self.dtype)

    @arguments.one_at_a_time
    def __call__(
        self,
        x: Any,
        steps: int,
        state: Any = None,
        *,
        targets: Any = None,
        forced: Any = None,
        teacher_forcing: float = 0.0,
        resume: bool = False,
    ) -> Any:
        """Check the call, then run ``construct``."""
        call = arguments.caller(self.name_in_errors, self.spec, self.layout, self.compute_dtype)
        arguments.check_teacher_forcing(self.name_in_errors, teacher_forcing, targets, forced)
        drawn = bool(teacher_forcing)
        shapes = arguments.check_forecast(call, self.dtype, x, steps, state, targets, forced, drawn, resume)
        if state is None and self.get_inputs() is None:  # zeros of free shapes are made in the graph
            state = arguments.zeros(shapes, self.dtype)
        chance = ms.Tensor(teacher_forcing, ms.float32) if drawn else None
        (resume,) = flags(self.name_in_errors, resume=resume)
        return nn.Cell.__call__(self, x, steps, arguments.live(state), targets, forced, chance, resume, True)

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Any,
        steps: int,
        state: Any = None,
        targets: Any = None,
        forced: Any = None,
        teacher_forcing: Any = None,
        resume: bool = False,
        checked: bool = False,
    ) -> Any:
        """Predict ``steps`` frames; return them and the last predicting network's state."""
        dtype = self.readout.weight.dtype
        if not checked:
            if state is not None:
                refuse_frozen(self.name_in_errors, self.pairs)
            call = (self.name_in_errors, self.spec, self.layout, self.compute_dtype, dtype)
            teacher_forcing = graph_checks.ready_chance(self.name_in_errors, teacher_forcing, targets, forced)
            drawn = teacher_forcing is not None
            state = graph_checks.ready_forecast(call, x, steps, state, targets, forced, drawn, resume)
        if state is None:
            state = graph_checks.initial(self.spec, None, dtype)
        if self.batch_first:
            x = mops.swapaxes(x, 0, 1)
            targets = None if targets is None else mops.swapaxes(targets, 0, 1)
            forced = None if forced is None else mops.swapaxes(forced, 0, 1)
        x = x if x.dtype == dtype else x.astype(dtype)
        if targets is not None and targets.dtype != dtype:
            targets = targets.astype(dtype)
        decoder = (self.decoder.layers, None) if self.decodes else None
        parts = ((self.encoder.layers, None), decoder, self.readout.prepared(self.spec.ndim))
        teaching = (targets, forced, teacher_forcing)
        state = arguments.cast_state(state, dtype)
        frames, state = forecast.compute(self.spec, parts, x, steps, state, teaching, self.training, resume, self.impl)
        if self.batch_first:
            frames = mops.swapaxes(frames, 0, 1)
        return frames, state

    def extend_repr(self) -> Any:
        """The arguments that make the forecaster."""
        options: dict[str, Any] = {"batch_first": True} if self.batch_first else {}
        if self.impl != "auto":
            options["impl"] = self.impl
        text = describe.forecaster_arguments(self.spec, **options, dtype=self.dtype)
        return text.replace(", bias=", ", has_bias=")


@explicit(ForecasterOptions, {**DEFAULTS, "reset": None})
class Forecaster(ForecasterBase):
    """Forecasts frames: pixel unshuffle, an encoder, an optional decoder, a 1x1 readout.

    The decoder starts from the encoder's states.

    prediction = unpatch(W*h + b), plus the frame before if ``residual``; see
    ``convgru.equations.readout``.

    Args:
        cell (str): ``gru`` , ``lstm`` or ``rnn`` .
        channels (int): Channels of a frame.
        hidden_channels, kernel_size, num_layers, ndim: As in :class:`ConvGRU`.
        patch (Union[int, tuple[int]]): Side of the square of pixels that becomes channels. Default:
            ``1`` .
        residual (bool): Whether a prediction is the change of the frame. Default: ``True`` .
        decoder (Union[bool, NetworkSpec]): Whether a second network, like the encoder but with
            weights of its own, makes the predictions (Srivastava et al. 2015, arXiv:1502.04681); or
            the spec of one. Default: ``False`` .
        feedback (bool): Whether the predicting network reads its own predictions; if not, it reads
            zeros. Default: ``True`` .
        options: Those of :class:`ConvGRU` and :class:`ConvLSTM`; ``reset`` is for a GRU alone.

    Inputs:
        - **x** (Tensor) - The frames (T, B, C, *S), or (B, T, C, *S) with ``batch_first`` .
        - **steps** (int) - How many frames to forecast.
        - **state** (tuple) - The encoder's. Default: ``None`` , zeros.
        - **targets** (Tensor) - The true frames, in the layout of the result. Default: ``None`` .
        - **forced** (Tensor) - Of bool, (steps, B), or (B, steps) with ``batch_first`` : where it
            is true the next step reads the target instead of the prediction (teacher forcing).
            Default: ``None`` .
        - **teacher_forcing** (float) - In training the probability of that, drawn for each step and
            sample. Default: ``0.0`` .
        - **resume** (bool) - Go on from an earlier call, as if it had been given more steps: x is
            its last frame alone (the true one where that was forced), ``state`` what it returned;
            the encoder reads nothing. In training recurrent dropout then draws its masks afresh.
            Default: ``False`` .

    Outputs:
        The frames (steps, B, C, *S), in the layout of x; and the state, after the last frame that
            it read, of the network that made the last prediction.

    Raises:
        ValueError: If a size or an option does not fit.
        TypeError: If an argument is of the wrong kind or dtype.
        UnsupportedError: If `dtype` is bfloat16, which does not compute on CPU, or the batch is
            empty.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> net = Forecaster("gru", 1, [24, 24], patch=2)
        >>> frames, state = net(ms.ops.ones((6, 1, 1, 32, 32), ms.float32), 12)
    """

    def __init__(
        self,
        cell: str,
        channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        patch: Ints = 1,
        residual: bool = True,
        decoder: bool | NetworkSpec = False,
        feedback: bool = True,
        **options: Unpack[ForecasterOptions],
    ) -> None:
        super().__init__()
        spec_options, module_options = split_options("Forecaster", dict(options), ForecasterOptions)
        more: dict[str, Any] = {"patch": patch, "residual": residual, "decoder": decoder, "feedback": feedback}
        spec = specs.forecaster(
            cell, channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **more, **spec_options
        )
        self._set_spec(spec, None, **module_options)
