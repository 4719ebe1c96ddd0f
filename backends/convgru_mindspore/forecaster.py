"""The forecaster: frames in, the frames that follow out."""

from __future__ import annotations

from typing import Any, Unpack

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru import spec as specs
from convgru.calls import check_resume, check_steps
from convgru.spec import ForecasterSpec, Ints, NetworkSpec
from convgru.weights import Weights
from convgru_mindspore import functional
from convgru_mindspore.arguments import checked_resume, checked_steps, ready_state, ready_teaching
from convgru_mindspore.options import ForecasterOptions, explicit, taken
from convgru_mindspore.parameters import (
    brief,
    check_flags,
    checked_call,
    checked_teaching,
    describe,
    parameter,
    part_of,
    starting_weights,
)
from convgru_mindspore.stacks import STACKS


class Readout(nn.Cell):
    """The 1x1 convolution's parameters, ``weight`` and ``bias``."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        self.weight = parameter(weight, "weight")
        self.bias = parameter(bias, "bias")

    def construct(self) -> Any:
        """The parameters."""
        return self.weight, self.bias


@explicit(ForecasterOptions)
class Forecaster(nn.Cell):
    """Forecasts frames: pixel unshuffle by ``patch``, an encoder, perhaps a decoder that starts from its states, a 1x1 readout.

    prediction = unpatch(W*h + b), plus the frame before if ``residual``; see ``convgru.equations.readout``.

    ``net(x, steps, state=None, *, targets=None, forced=None, teacher_forcing=0.0, resume=False)``: x (T, B, C, *S), or (B, T, C, *S) with
    ``batch_first``; ``steps`` how many frames to forecast; state as for the encoder, None for zeros. Returns the frames
    (steps, B, C, *S), in the layout of x, and the state, after the last frame that it read, of the network that made the last prediction.
    Teacher forcing: ``targets``, the true frames in the layout of the result, are read instead of the predictions where ``forced``, a
    Tensor of bool (steps, B), or (B, steps) with ``batch_first``, is true; or in training with the probability ``teacher_forcing``,
    drawn for each step and sample. ``resume`` goes on from an earlier call, as if it had been given more steps: x is then its last frame
    alone (the true one where that was forced) and ``state`` what it returned; the encoder reads nothing. In training recurrent dropout then
    draws its masks afresh.

    Args:
        cell: ``gru``, ``lstm`` or ``rnn``.
        channels: of a frame.
        patch: side of the square of pixels that becomes channels, or one for each dimension.
        residual: whether a prediction is the change of the frame.
        decoder: whether a second network, like the encoder but with weights of its own, makes the predictions (Srivastava et al. 2015,
            arXiv:1502.04681); or the spec of one (``convgru.spec.network``).
        feedback: whether the predicting network reads its own predictions; if not, it reads zeros.
        The others are those of ``ConvGRU`` and ``ConvLSTM``; ``reset`` is for a GRU alone, ``before`` unless given.

    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> net = Forecaster("gru", 1, [24, 24], patch=2)
        >>> frames, state = net(ms.ops.ones((6, 1, 1, 32, 32), ms.float32), 12)
    """

    spec: ForecasterSpec

    def __init__(
        self,
        cell: str,
        channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
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
        rest, own = taken("Forecaster", dict(options), ForecasterOptions)
        more: dict[str, Any] = {"patch": patch, "residual": residual, "decoder": decoder, "feedback": feedback}
        spec = specs.forecaster(cell, channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **more, **rest)
        self._hold(spec, None, **own)

    @classmethod
    def from_spec(
        cls,
        spec: ForecasterSpec,
        *,
        weights: Weights | None = None,
        batch_first: bool = False,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> Forecaster:
        """The forecaster that ``spec`` describes, with these weights (their dtype then counts) or initial ones."""
        net = cls.__new__(cls)
        nn.Cell.__init__(net)
        net._hold(spec, weights, batch_first, dtype, accurate)
        return net

    def _hold(
        self, spec: ForecasterSpec, weights: Weights | None, batch_first: bool, dtype: Any, accurate: bool
    ) -> None:
        check_flags(spec.title, batch_first=batch_first, accurate=accurate)
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.batch_first, self.accurate = spec, batch_first, accurate
        self.layout = "BTCS" if batch_first else "TBCS"
        self.decodes = spec.decoder is not None
        kind = STACKS[spec.encoder.cell]
        inside = part_of(weights, spec.encoder, "encoder.")
        self.encoder = kind.from_spec(spec.encoder, weights=inside, accurate=accurate)
        if spec.decoder is not None:
            inside = part_of(weights, spec.decoder, "decoder.")
            self.decoder = kind.from_spec(spec.decoder, weights=inside, accurate=accurate)
        self.readout = Readout(weights.arrays["readout.weight"], weights.arrays["readout.bias"])
        self.set_train(False)  # said aloud: a graph compiled before the first set_train would never see a later one

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, which x and state must have."""
        return self.readout.weight.dtype

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
        given = state
        state = checked_call(self.spec, x, state, self.dtype, self.layout)
        check_steps(self.spec.title, steps)
        check_resume(self.spec.title, resume, x.shape[1 if self.batch_first else 0], given)
        teaching = checked_teaching(self.spec, x, steps, targets, forced, teacher_forcing, self.dtype, self.layout)
        return super().__call__(x, steps, state, *teaching, resume)

    def construct(
        self,
        x: Any,
        steps: int,
        state: Any = None,
        targets: Any = None,
        forced: Any = None,
        teacher_forcing: Any = None,
        resume: bool = False,
    ) -> Any:
        """The next ``steps`` frames and the state of what made the last."""
        dtype = self.readout.weight.dtype
        resume = checked_resume(self.spec.title, resume, x.shape[1 if self.batch_first else 0], state is not None)
        state = ready_state(self.spec, x, state, dtype, self.layout)
        steps = checked_steps(self.spec.title, steps)
        teaching = ready_teaching(self.spec, x, steps, targets, forced, dtype, self.layout)
        if self.batch_first:
            x = mops.swapaxes(x, 0, 1)
        frames, state = functional.compute_forecast(
            self.spec, self.arrays(), x, steps, state, self.accurate, teaching, teacher_forcing, self.training, resume
        )
        if self.batch_first:
            frames = mops.swapaxes(frames, 0, 1)
        return frames, state

    def arrays(self) -> dict[str, Any]:
        """The parameters by their canonical names."""
        arrays = {"readout.weight": self.readout.weight, "readout.bias": self.readout.bias}
        own = self.encoder.arrays()
        for name in own:
            arrays["encoder." + name] = own[name]
        if self.decodes:
            other = self.decoder.arrays()
            for name in other:
                arrays["decoder." + name] = other[name]
        return arrays

    def __repr__(self) -> str:
        decoder: Any = self.spec.decoder
        options = {
            "patch": brief([self.spec.patch]),
            "residual": self.spec.residual,
            "decoder": None if decoder is None else True if decoder == self.spec.encoder else decoder,
            "feedback": None if self.spec.feedback else False,
            "batch_first": self.batch_first or None,
            "accurate": None if self.accurate else False,
        }
        return describe(self.spec, self.dtype, **options)
