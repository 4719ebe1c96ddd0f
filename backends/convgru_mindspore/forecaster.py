"""The forecaster: frames in, the frames that follow out."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru import spec as specs
from convgru.shapes import check_steps
from convgru.spec import ForecasterSpec
from convgru.weights import Weights
from convgru_mindspore import core
from convgru_mindspore.parameters import brief, checked_call, describe, parameter, part_of, starting_weights
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


class Forecaster(nn.Cell):
    """Forecasts frames: pixel unshuffle by ``patch``, an encoder network, a 1x1 readout, feeding on its own predictions.

    prediction = unpatch(W*h + b), plus the frame before if ``residual``; see ``convgru.equations.readout``.

    ``net(x, steps, state=None)``: x (T, B, C, *S), or (B, T, C, *S) with ``batch_first``; ``steps`` how many frames to
    forecast; state as for the encoder, None for zeros. Returns the frames (steps, B, C, *S), in the layout of x, and the
    encoder's state after the last frame that it read.

    Args:
        cell: ``gru``, ``lstm`` or ``rnn``.
        channels: of a frame.
        patch: side of the square of pixels that becomes channels, or one for each dimension.
        residual: whether a prediction is the change of the frame.
        The others are those of ``ConvGRU``; ``reset`` is for a GRU alone, ``before`` unless given.

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
        kernel_size: Any = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        patch: Any = 1,
        residual: bool = True,
        recurrent_kernel_size: Any = None,
        dilation: Any = 1,
        recurrent_dilation: Any = None,
        padding: Any = "same",
        has_bias: bool = True,
        reset: str | None = None,
        activation: str = "tanh",
        batch_first: bool = False,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> None:
        super().__init__()
        spec = specs.forecaster(
            cell, channels, hidden_channels, kernel_size, num_layers, ndim=ndim, patch=patch, residual=residual,
            recurrent_kernel_size=recurrent_kernel_size, dilation=dilation, recurrent_dilation=recurrent_dilation,
            padding=padding, bias=has_bias, reset=reset, activation=activation,
        )  # fmt: skip
        self._hold(spec, None, batch_first, dtype, accurate)

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
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.batch_first, self.accurate = spec, bool(batch_first), bool(accurate)
        self.layout = "BTCS" if batch_first else "TBCS"
        inside = part_of(weights, spec.encoder, "encoder.")
        self.encoder = STACKS[spec.encoder.cell].from_spec(spec.encoder, weights=inside, accurate=accurate)
        self.readout = Readout(weights.arrays["readout.weight"], weights.arrays["readout.bias"])

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, which x and state must have."""
        return self.readout.weight.dtype

    def __call__(self, x: Any, steps: int, state: Any = None) -> Any:
        """Check the call, then run ``construct``."""
        state = checked_call(self.spec, x, state, self.dtype, self.layout)
        check_steps(self.spec.title, steps)
        return super().__call__(x, steps) if state is None else super().__call__(x, steps, state)

    def construct(self, x: Any, steps: int, state: Any = None) -> Any:
        """The next ``steps`` frames and the encoder's state."""
        state = core.ready_state(self.spec, x, state, self.dtype, self.layout)
        steps = core.checked_steps(self.spec.title, steps)
        if self.batch_first:
            x = mops.swapaxes(x, 0, 1)
        frames, state = core.compute_forecast(self.spec, self.arrays(), x, steps, state, self.accurate)
        if self.batch_first:
            frames = mops.swapaxes(frames, 0, 1)
        return frames, state

    def arrays(self) -> dict[str, Any]:
        """The parameters by their canonical names."""
        arrays = {"readout.weight": self.readout.weight, "readout.bias": self.readout.bias}
        own = self.encoder.arrays()
        for name in own:
            arrays["encoder." + name] = own[name]
        return arrays

    def __repr__(self) -> str:
        options = {
            "patch": brief([self.spec.patch]),
            "residual": self.spec.residual,
            "batch_first": self.batch_first or None,
            "accurate": None if self.accurate else False,
        }
        return describe(self.spec, self.dtype, **options)
