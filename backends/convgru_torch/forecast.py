"""The forecast algorithm, encoder, optional decoder, readout: pure or on modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from convgru import equations
from convgru.calls import flags
from convgru.spec import ForecasterSpec, NetworkSpec
from convgru.spec.options import refuse_unknown
from convgru_torch import ops
from convgru_torch.arguments import Arrays, CheckedCall, Teacher, parameters_precision
from convgru_torch.convolution import readout
from convgru_torch.execution import Execution, ExecutionOptions
from convgru_torch.functional import State, call_network
from convgru_torch.loop import functional_layers
from convgru_torch.masks import draw, recurrent
from convgru_torch.parameters import Precision

if TYPE_CHECKING:
    from typing import Unpack  # new in 3.11; the room itself also runs on 3.10

NetworkCall = Callable[..., tuple[Any, State]]
"""A stack, or the pure function of one: (x, state, masks=, last_only=) to output and state, time
first.
"""


@dataclass(frozen=True)
class Networks:
    """The callables of a forecast: a forecaster's modules, or pure functions.

    ``readout`` maps (B, H, *S) to (B, C·∏patch, *S).
    """

    encoder: NetworkCall
    decoder: NetworkCall | None
    readout: Callable[[Tensor], Tensor]
    precision: Precision


def forecast(
    spec: ForecasterSpec,
    arrays: Arrays,
    x: Tensor,
    steps: int,
    state: State | None = None,
    *,
    targets: Tensor | None = None,
    forced: Tensor | None = None,
    teacher_forcing: float = 0.0,
    resume: bool = False,
    training: bool = False,
    layout: str = "TBCS",
    owner: str = "",
    **execution: Unpack[ExecutionOptions],
) -> tuple[Tensor, State]:
    """Predict the ``steps`` frames that follow ``x``; differentiable through all of them.

    The encoder reads the given frames; the first prediction is ``convgru.equations.readout`` of its
    top hidden state and the last frame; then the encoder reads each prediction in turn. With a
    decoder it is this that reads, from the last given frame on, starting from the encoder's states.
    With ``resume`` the encoder reads nothing: the network that predicts goes on from ``state`` and
    the one frame ``x``. Arguments, errors and layout as in ``run`` and in the call of
    ``convgru.torch.Forecaster``, the parameters being those of a forecaster
    (``encoder.layers.0.fwd.weight_ih`` …, ``readout.weight``, ``readout.bias``).

    Returns:
        ``steps`` frames in the layout of ``x``, and the state, after the last frame that it read,
        of the network that read it; for a single frame (layout ``BCS``) that is not resumed from,
        the encoder's.
    """
    refuse_unknown("forecast", {**execution}, ExecutionOptions)
    if not isinstance(spec, ForecasterSpec):
        raise TypeError(f"forecast expected the spec of a forecaster (ForecasterSpec), got {type(spec).__name__}")
    owner, how = owner or spec.title, Execution(**execution)
    flags(owner, training=training)
    precision = parameters_precision(owner, spec, arrays, how.state_dtype)

    def network(inner: NetworkSpec, prefix: str) -> NetworkCall:
        layers = functional_layers(inner, arrays, prefix, how)
        return partial(
            call_network, owner, inner, layers, precision, training=training, checkpoint_frames=how.checkpoint_frames
        )

    networks = Networks(
        network(spec.encoder, "encoder."),
        None if spec.decoder is None else network(spec.decoder, "decoder."),
        partial(readout, weight=arrays["readout.weight"], bias=arrays["readout.bias"]),
        precision,
    )
    return predict(
        owner,
        spec,
        networks,
        x,
        steps,
        state,
        targets=targets,
        forced=forced,
        teacher_forcing=teacher_forcing,
        resume=resume,
        training=training,
        layout=layout,
    )


def predict(
    owner: str,
    spec: ForecasterSpec,
    networks: Networks,
    x: Tensor,
    steps: int,
    state: State | None,
    *,
    targets: Tensor | None = None,
    forced: Tensor | None = None,
    teacher_forcing: float = 0.0,
    resume: bool = False,
    training: bool = False,
    layout: str = "TBCS",
) -> tuple[Tensor, State]:
    """Check the arguments of a call and forecast with ``networks``; the rest as in ``forecast``."""
    call = CheckedCall(owner, spec, networks.precision, x, layout)
    call.horizon(steps, resume, state)
    begin = call.state(state)
    teacher = call.teacher(targets, forced, teacher_forcing, steps, training)
    reader = _Reader(call, spec.encoder, networks.encoder, training)
    tops: list[Tensor] = []
    if not resume:
        inside = ops.patch(call.x.flatten(0, 1), spec.patch)
        top, begin = reader(inside.reshape(call.x.shape[:2] + inside.shape[1:]), begin, last_only=True)
        tops.append(top)
    if spec.decoder is not None:
        assert networks.decoder is not None
        reader, tops = _Reader(call, spec.decoder, networks.decoder, training), []
    predictor = _Predictor(spec, reader, networks.readout, teacher)
    final = (predictor.fed if spec.feedback else predictor.blind)(tops, begin, call.x[-1], steps)
    frames = call.output(torch.stack(predictor.frames))
    return frames, call.final(begin if layout == "BCS" and not resume else final)


@dataclass
class _Reader:
    """A network that reads a sequence in several calls; in training one recurrent mask for all."""

    call: CheckedCall
    spec: NetworkSpec
    network: NetworkCall
    training: bool
    kept: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor, state: State, *, last_only: bool = False) -> tuple[Tensor, State]:
        masks = None
        if self.training:
            sizes = self.call.sizes._replace(time=x.shape[0], size=tuple(x.shape[3:]))
            masks = draw(self.spec, sizes, self.call.dtype, self.call.device, self.kept) or None
            self.kept = recurrent(masks or {})
        return self.network(x, state, masks=masks, last_only=last_only)


class _ReadoutOps:
    """The ops of ``convgru.equations.readout``; W*h + b is one call of a module or a function."""

    unpatch = staticmethod(ops.unpatch)

    @staticmethod
    def conv(h: Tensor, call: Callable[[Tensor], Tensor], name: str) -> Tensor:
        return call(h).to(h.dtype)  # which autocast lowers

    @staticmethod
    def add_channel(a: Tensor, call: Callable[[Tensor], Tensor], name: str) -> Tensor:
        return a


READOUT_OPS: Any = _ReadoutOps  # three of the ops; the others are for cells


@dataclass
class _Predictor:
    """Makes the predictions: ``reader`` is the decoder, or the encoder where there is none.

    In both methods ``tops`` holds the top hidden states that are there already, none or one; they
    return the final state.
    """

    spec: ForecasterSpec
    reader: _Reader
    readout: Callable[[Tensor], Tensor]
    teacher: Teacher | None
    frames: list[Tensor] = field(default_factory=list)

    def fed(self, tops: list[Tensor], state: State, frame: Tensor, steps: int) -> State:
        """Predict with a network that reads each prediction, or the truth."""
        for k in range(steps):
            if k < len(tops):
                top = tops[k]
            else:
                top, state = self.reader(ops.patch(frame, self.spec.patch)[None], state, last_only=True)
            frame = self._predict(top, frame)
        return state

    def blind(self, tops: list[Tensor], state: State, frame: Tensor, steps: int) -> State:
        """Decoder without feedback: its input is zeros at each step."""
        if steps > len(tops):
            inside = torch.zeros_like(ops.patch(frame, self.spec.patch))
            y, state = self.reader(inside.expand(steps - len(tops), *inside.shape), state)
            tops = [*tops, *y.unbind(0)]
        for top in tops:
            frame = self._predict(top, frame)
        return state

    def _predict(self, top: Tensor, frame: Tensor) -> Tensor:
        """Append a prediction and return the next step's input: it, or the true frame if forced."""
        k = len(self.frames)
        self.frames.append(equations.readout(READOUT_OPS, self.spec, self.readout, top, frame))
        if self.teacher is None:
            return self.frames[k]
        targets, forced = self.teacher
        return torch.where(forced[k], targets[k], self.frames[k])
