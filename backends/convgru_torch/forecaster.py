"""Forecaster: a module that predicts the frames that follow a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from convgru.spec import ForecasterSpec, Ints, NetworkSpec, forecaster
from convgru.spec.describe import forecaster_arguments
from convgru.spec.fields import flag
from convgru.spec.options import explicit, refuse_unknown
from convgru_torch import hub
from convgru_torch.execution import Execution, ExecutionOptions
from convgru_torch.forecast import Networks, predict
from convgru_torch.functional import State
from convgru_torch.initial_values import fill
from convgru_torch.options import DEFAULTS, ForecasterOptions
from convgru_torch.parameters import SpecModule, precision_of, zero_state
from convgru_torch.parametrized import compute_hooked_weights, evaluation
from convgru_torch.stacks import STACKS

if TYPE_CHECKING:
    from typing import Self, Unpack  # new in 3.11; the room itself also runs on 3.10


@explicit(ForecasterOptions, {**DEFAULTS, "reset": None})
class Forecaster(SpecModule):
    """Predicts the frames that follow a sequence, feeding on its own predictions.

    A prediction is ``convgru.equations.readout``::

        frame' = frame + unpatch(W*h + b)        without ``residual``: unpatch(W*h + b)

    h is the top hidden state of a recurrent ``encoder``, which reads the frames after pixel
    unshuffle by ``patch``, or of a ``decoder`` that starts from the encoder's states; W is the
    ``readout``, a convolution with a kernel of 1.

    Args:
        cell: ``gru``, ``lstm`` or ``rnn``.
        channels: channels C of a frame, given or predicted.
        hidden_channels: of the encoder, as for ConvGRU.
        kernel_size: of the encoder, as for ConvGRU.
        num_layers: of the encoder, as for ConvGRU.
        ndim: number of spatial dimensions, 1, 2 or 3.
        patch: how many pixels, in each dimension, become channels; it must divide the size of the
            frames.
        residual: if True, the readout predicts the change of the frame.
        decoder: True for a second network, like the encoder but with weights of its own, that makes
            the predictions (Srivastava et al. 2015, arXiv:1502.04681); the spec of one
            (``convgru.network``); False or None for none.
        feedback: if False, the predicting network reads zeros instead of its own predictions.
        batch_first: if True, frames are (B, T, C, *S).
        impl, memory, algorithm, checkpoint_frames, state_dtype, cuda_graphs: how to compute
            (``Execution``).
        options: the other arguments, of encoder and decoder, as for ConvGRU (``reset`` with ``gru``
            alone, None means ``before``) and ConvLSTM (``peephole`` and ``state_size`` with
            ``lstm`` alone). All must keep the image's size.

    Shape:
        - Input: (T, B, C, *S), with ``batch_first`` (B, T, C, *S), or unbatched (T, C, *S).
        - State: the encoder's, for each layer h (B, H, *S/patch), or (h, c).
        - Output: (steps, B, C, *S) in the layout of the input; and a state.

    Raises:
        ValueError: for arguments that describe no forecaster, naming the argument.
        TypeError: for arguments of another type, and for unknown ones.

    Source: Shi et al. 2015 (arXiv:1506.04214), with one network in place of their encoder and
    decoder, unless there is a ``decoder``.

    Example:
        >>> net = Forecaster("gru", 1, [24, 24], patch=4)
        >>> frames, state = net(torch.zeros(6, 2, 1, 64, 64), 12)
    """

    def __init__(
        self,
        cell: Literal["gru", "lstm", "rnn"],
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
        refuse_unknown(type(self).__name__, {**options}, ForecasterOptions)
        module_options: dict[str, Any] = {name: options.get(name, default) for name, default in DEFAULTS.items()}
        inner: dict[str, Any] = {name: value for name, value in options.items() if name not in DEFAULTS}
        inner |= {"patch": patch, "residual": residual, "decoder": decoder, "feedback": feedback, "ndim": ndim}
        self._build(forecaster(cell, channels, hidden_channels, kernel_size, num_layers, **inner), **module_options)

    def _build(
        self, spec: ForecasterSpec, batch_first: bool, device: Any, dtype: torch.dtype | None, **execution: Any
    ) -> None:
        SpecModule.__init__(self, spec, Execution(**execution))
        flag(f"{type(self).__name__} batch_first", batch_first)
        self.batch_first = batch_first
        self.encoder = STACKS[spec.encoder.cell].from_spec(spec.encoder, device=device, dtype=dtype, **execution)
        self.encoder.inner = True
        if spec.decoder is not None:
            self.decoder = STACKS[spec.decoder.cell].from_spec(spec.decoder, device=device, dtype=dtype, **execution)
            self.decoder.inner = True
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[spec.ndim - 1]
        self.readout = convolution(spec.encoder.out_channels, spec.encoder.in_channels, 1, device=device, dtype=dtype)
        self._reset_readout()

    @classmethod
    def from_spec(
        cls,
        spec: ForecasterSpec,
        *,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **execution: Unpack[ExecutionOptions],
    ) -> Self:
        """Make the forecaster that a spec describes."""
        self: Self = hub.new(cls, spec, batch_first=batch_first, **execution)
        self._build(spec, batch_first, device, dtype, **execution)
        return self

    def reset_parameters(self) -> None:
        """Draw new initial values: networks as ConvGRU, readout Glorot uniform with zero bias."""
        self.encoder.reset_parameters()
        if self.spec.decoder is not None:
            self.decoder.reset_parameters()
        self._reset_readout()

    def _reset_readout(self) -> None:
        fill(self.readout.weight, nn.init.xavier_uniform_)
        assert self.readout.bias is not None
        nn.init.zeros_(self.readout.bias)

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """Map canonical names to the tensors that a call would use, parametrized or hooked."""
        arrays: dict[str, Tensor] = self.encoder.arrays(prefix + "encoder.")
        if self.spec.decoder is not None:
            arrays.update(self.decoder.arrays(prefix + "decoder."))
        self._check_readout()
        assert self.readout.bias is not None
        with evaluation(self.readout):
            compute_hooked_weights(self.readout)
            readout = {"readout.weight": self.readout.weight, "readout.bias": self.readout.bias}
        return {**arrays, **{prefix + name: array for name, array in readout.items()}}

    def forward(
        self,
        x: Tensor,
        steps: int,
        state: State | None = None,
        *,
        targets: Tensor | None = None,
        forced: Tensor | None = None,
        teacher_forcing: float = 0.0,
        resume: bool = False,
    ) -> tuple[Tensor, State]:
        """Predict the ``steps`` frames that follow ``x``.

        Args:
            x: (T, B, C, *S), or (B, T, C, *S) with ``batch_first``; S a multiple of the patch. Or
                unbatched (T, C, *S): then state, targets, forced and results have no batch axis
                either.
            steps: how many frames to predict, any number in any call.
            state: the encoder's, one entry for each layer, h (B, H, *S/patch) or (h, c); None means
                zeros.
            targets: the true frames, in the layout of the output, for teacher forcing (Williams and
                Zipser 1989).
            forced: (steps, B), or (B, steps) with ``batch_first``, of torch.bool: where the next
                step reads the true frame instead of its prediction.
            teacher_forcing: instead of ``forced``: how likely that is (scheduled sampling, Bengio
                et al. 2015, arXiv:1506.03099); drawn in training mode, never in evaluation.
            resume: go on from an earlier call, as if it had been given more steps: x is then its
                last frame alone (the true one where that was forced) and ``state`` what it
                returned; the encoder reads nothing. In training recurrent dropout then draws its
                masks afresh.

        Returns:
            ``steps`` frames in the layout of ``x``, and the state, after the last frame that it
            read, of the network that made them: ``net(frames[-1:], more, state, resume=True)`` goes
            on.

        Raises:
            ValueError: for a shape that does not fit, or steps that are not positive; with
                ``resume`` for no state, or for not one frame.
            TypeError: for a dtype that is not the parameters'; for targets without ``forced`` or
                ``teacher_forcing``, or these without targets.
        """
        options: dict[str, Any] = {"targets": targets, "forced": forced, "teacher_forcing": teacher_forcing}
        return self._predict(x, steps, state, "BTCS" if self.batch_first else "TBCS", resume=resume, **options)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Take one frame as it arrives, and predict the next.

        It is not the module's own call: hooks of the forecaster and DistributedDataParallel's
        synchronisation of gradients do not see it (those of its networks and layers run).

        Args:
            x: (B, C, *S), or unbatched (C, *S).
            state: the encoder's, as in the call.

        Returns:
            The frame predicted to follow x, and the encoder's state for the next call.
        """
        return self._predict(x, 1, state, "BCS")

    def zero_state(self, batch: int, size: Sequence[int]) -> State:
        """Return the initial state that is used for None.

        Args:
            batch: samples B.
            size: spatial size of the frames.

        Returns:
            Zeros of the parameters' dtype and on their device, one entry for each layer of the
            encoder.
        """
        return zero_state(self, batch, size)

    def _predict(self, x: Tensor, steps: int, state: State | None, layout: str, **options: Any) -> tuple[Tensor, State]:
        """Call encoder, decoder and readout."""
        self._check_readout()
        decoder = None if self.spec.decoder is None else self.decoder
        networks = Networks(self.encoder, decoder, self.readout, precision_of(self))
        options |= {"layout": layout, "training": self.training}
        return predict(type(self).__name__, self.spec, networks, x, steps, state, **options)

    def _check_readout(self) -> None:
        """Raise ValueError for a readout that a user has replaced by what the spec does not say."""
        readout, ones = self.readout, (1,) * self.spec.ndim
        if not isinstance(readout, nn.modules.conv._ConvNd):  # a wrapper, or quantised
            return
        got = (readout.in_channels, readout.out_channels, readout.kernel_size, readout.stride, readout.groups)
        expected = (self.spec.encoder.out_channels, self.spec.encoder.in_channels, ones, ones, 1)
        if got != expected or readout.padding not in ((0,) * self.spec.ndim, "same", "valid") or readout.bias is None:
            raise ValueError(
                f"{type(self).__name__} readout expected a convolution from {expected[0]} to {expected[1]} channels with "
                f"a kernel of 1 and a bias, got {readout}"
            )

    def extra_repr(self) -> str:
        """The arguments that made this forecaster, defaults left out."""
        options = {"batch_first": True} if self.batch_first else {}
        return forecaster_arguments(self.spec, **options, **self.execution.changed())
