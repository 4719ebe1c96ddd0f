"""Forecaster: frames in, the frames that follow out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from convgru.spec import ForecasterSpec, Ints, forecaster
from convgru_torch.core import State, forecast
from convgru_torch.modules import SpecModule, arguments
from convgru_torch.stacks import STACKS


class Forecaster(SpecModule):
    """Predicts the frames that follow a sequence, feeding on its own predictions (``convgru.equations.readout``).

    Pixel unshuffle by ``patch``, a recurrent ``encoder``, a ``readout`` (a convolution with a kernel of 1), pixel shuffle.

    Args:
        cell: ``gru``, ``lstm`` or ``rnn``.
        channels: channels C of a frame, given or predicted.
        hidden_channels, kernel_size, num_layers, ndim: of the encoder, as for ConvGRU.
        patch: how many pixels, in each dimension, become channels; it must divide the size of the frames.
        residual: whether the readout predicts the change of the frame rather than the frame.
        reset: for ``gru`` alone; None means ``before``.
        recurrent_kernel_size, dilation, recurrent_dilation, padding, bias, activation: of the encoder, as for ConvGRU.
        batch_first: frames are (B, T, C, *S) instead of (T, B, C, *S).
        device, dtype: of the parameters, as everywhere in torch.

    Raises:
        ValueError, TypeError: for arguments that describe no forecaster, naming the argument.

    Source: Shi et al. 2015 (arXiv:1506.04214), with one network in place of their encoder and decoder.

    Example:
        >>> net = Forecaster("gru", 1, [24, 24], patch=4)
        >>> frames, state = net(torch.zeros(6, 2, 1, 64, 64), 12)
    """

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
        recurrent_kernel_size: Ints | list[Ints] | None = None,
        dilation: Ints | list[Ints] = 1,
        recurrent_dilation: Ints | list[Ints] | None = None,
        padding: Any = "same",
        bias: bool = True,
        reset: str | None = None,
        activation: str = "tanh",
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        spec = forecaster(
            cell,
            channels,
            hidden_channels,
            kernel_size,
            num_layers,
            ndim=ndim,
            patch=patch,
            residual=residual,
            recurrent_kernel_size=recurrent_kernel_size,
            dilation=dilation,
            recurrent_dilation=recurrent_dilation,
            padding=padding,
            bias=bias,
            reset=reset,
            activation=activation,
        )
        self._build(spec, batch_first, device, dtype)

    def _build(self, spec: ForecasterSpec, batch_first: bool, device: Any, dtype: torch.dtype | None) -> None:
        SpecModule.__init__(self, spec)
        self.batch_first = batch_first
        self.encoder = STACKS[spec.encoder.cell].from_spec(spec.encoder, device=device, dtype=dtype)
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[spec.ndim - 1]
        self.readout = convolution(spec.encoder.out_channels, spec.encoder.in_channels, 1, device=device, dtype=dtype)
        self._reset_readout()

    @classmethod
    def from_spec(
        cls, spec: ForecasterSpec, *, batch_first: bool = False, device: Any = None, dtype: torch.dtype | None = None
    ) -> Any:
        """The forecaster that a spec describes."""
        self = cls.__new__(cls)
        self._build(spec, batch_first, device, dtype)
        return self

    def reset_parameters(self) -> None:
        """Draw new initial values: the encoder's as ConvGRU does, the readout's Glorot uniform with bias zero."""
        self.encoder.reset_parameters()
        self._reset_readout()

    def _reset_readout(self) -> None:
        nn.init.xavier_uniform_(self.readout.weight)
        assert self.readout.bias is not None
        nn.init.zeros_(self.readout.bias)

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """The parameters by canonical name, as they are used: behind parametrisations and functional_call too."""
        found: dict[str, Tensor] = self.encoder.arrays(prefix + "encoder.")
        assert self.readout.bias is not None
        return {**found, prefix + "readout.weight": self.readout.weight, prefix + "readout.bias": self.readout.bias}

    def forward(self, x: Tensor, steps: int, state: State | None = None) -> tuple[Tensor, State]:
        """Predict the ``steps`` frames that follow ``x``.

        Args:
            x: (T, B, C, *S), or (B, T, C, *S) with ``batch_first``; S a multiple of the patch.
            steps: how many frames to predict.
            state: the encoder's, one entry for each layer, h (B, H, *S/patch) or (h, c); None means zeros.

        Returns:
            ``steps`` frames in the layout of ``x``, and the encoder's state after the last frame that it read.

        Raises:
            ValueError: for a shape that does not fit, or steps that are not positive.
            TypeError: for a dtype that is not the parameters'.
        """
        layout = "BTCS" if self.batch_first else "TBCS"
        return forecast(self.spec, self.arrays(), x, steps, state, layout=layout, owner=type(self).__name__)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Take one frame (B, C, *S), as it arrives: the frame predicted to follow it, and the state for the next call."""
        return forecast(self.spec, self.arrays(), x, 1, state, layout="BCS", owner=type(self).__name__)

    def extra_repr(self) -> str:
        """The arguments that made this forecaster, defaults left out."""
        patch = self.spec.patch
        options: dict[str, Any] = {"patch": patch[0] if len(set(patch)) == 1 else patch}
        options |= {} if self.spec.residual else {"residual": False}
        options |= {"batch_first": True} if self.batch_first else {}
        return f"{self.spec.encoder.cell!r}, {arguments(self.spec.channels, self.spec.encoder, **options)}"
