"""Forecasters as a pure function of canonical tensors: an encoder, perhaps a decoder, and a readout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convgru import equations
from convgru.calls import check_resume, check_steps
from convgru.spec import ForecasterSpec, NetworkSpec
from convgru.spec.shapes import patched_size
from convgru_torch import ops
from convgru_torch.arguments import Admission, Arrays, from_time_first
from convgru_torch.functional import State, state_of
from convgru_torch.loop import Call, Layer, Parts, network, prepare
from convgru_torch.masks import Masks

Teacher = tuple[Sequence[Tensor], Sequence[Tensor]]
"""For each step the true frame, and in which samples the next step reads it."""


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
) -> tuple[Tensor, State]:
    """Predict the ``steps`` frames that follow ``x``; differentiable through all of them.

    The encoder reads the given frames; the first prediction is ``convgru.equations.readout`` of its top hidden state and the
    last frame; then the encoder reads each prediction in turn. With a decoder it is this that reads, from the last
    given frame on, starting from the encoder's states. With ``resume`` the encoder reads nothing: the network that predicts goes
    on from ``state`` and the one frame ``x``. Arguments, errors and layout as in ``run`` and in the
    call of ``convgru.torch.Forecaster``, the parameters being those of a forecaster (``encoder.layers.0.fwd.weight_ih`` …,
    ``readout.weight``, ``readout.bias``).

    Returns:
        ``steps`` frames in the layout of ``x``, and the state, after the last frame that it read, of the network that read it;
        for a single frame (layout ``BCS``) that is not resumed from, the encoder's.
    """
    owner = owner or spec.title
    check_steps(owner, steps)
    call = Admission(owner, spec, arrays, x, layout)
    check_resume(owner, resume, call.time, state)
    parts = call.state(state)
    forced = _drawn(owner, call, steps, targets, forced, teacher_forcing, training)
    teacher = call.teacher(targets, forced, steps)
    size = patched_size(spec, call.size)
    tops: list[Tensor] = []
    masks = Masks(spec.encoder, training=training)
    layers = prepare(spec.encoder, arrays, "encoder.", size, parts)
    if not resume:
        inside = ops.patch(call.x.flatten(0, 1), spec.patch)
        inside = inside.reshape(call.x.shape[:2] + inside.shape[1:])
        tops, parts = network(spec.encoder, layers, inside, parts, Call(masks), last=True)
    if spec.decoder is not None:
        masks, tops = Masks(spec.decoder, training=training), []
        layers = prepare(spec.decoder, arrays, "decoder.", size, parts)
    reader = _Reader(spec, layers, ops.prepare_readout(spec, arrays), Call(masks), teacher)
    frames, final = (reader.fed if spec.feedback else reader.blind)(tops, parts, call.x[-1], steps)
    return from_time_first(torch.stack(frames), layout), state_of(parts if layout == "BCS" and not resume else final)


@dataclass(frozen=True)
class _Reader:
    """What makes the predictions: the decoder, or the encoder where there is none, and the readout.

    In both methods ``tops`` holds the top hidden states that are there already, none or one.
    """

    spec: ForecasterSpec
    layers: list[list[Layer]]
    readout: ops.Params
    call: Call
    teacher: Teacher | None

    @property
    def network(self) -> NetworkSpec:
        return self.spec.decoder or self.spec.encoder

    def fed(
        self, tops: list[Tensor], state: list[Parts], frame: Tensor, steps: int
    ) -> tuple[list[Tensor], list[Parts]]:
        """The predictions of a network that reads each of them, or the truth."""
        predictions: list[Tensor] = []
        for k in range(steps):
            if k < len(tops):
                top = tops[k]
            else:
                inside = ops.patch(frame, self.spec.patch)[None]
                (top,), state = network(self.network, self.layers, inside, state, self.call, last=True)
            frame = self._predict(predictions, top, frame)
        return predictions, state

    def blind(
        self, tops: list[Tensor], state: list[Parts], frame: Tensor, steps: int
    ) -> tuple[list[Tensor], list[Parts]]:
        """The predictions of a network that reads zeros: a sequence that is known beforehand."""
        if steps > len(tops):
            inside = torch.zeros_like(ops.patch(frame, self.spec.patch))
            zeros = inside.expand(steps - len(tops), *inside.shape)
            (y,), state = network(self.network, self.layers, zeros, state, self.call)
            tops = [*tops, *y.unbind(0)]
        predictions: list[Tensor] = []
        for top in tops:
            frame = self._predict(predictions, top, frame)
        return predictions, state

    def _predict(self, predictions: list[Tensor], top: Tensor, frame: Tensor) -> Tensor:
        """Append a prediction and return what the next starts from: itself, or the truth where the teacher says so."""
        k = len(predictions)
        predictions.append(equations.readout(ops, self.spec, self.readout, top, frame))
        if self.teacher is None:
            return predictions[k]
        targets, forced = self.teacher
        return torch.where(forced[k], targets[k], predictions[k])


def _drawn(
    owner: str, call: Admission, steps: int, targets: Any, forced: Any, teacher_forcing: Any, training: bool
) -> Any:
    """The booleans handed in; or drawn, in training, with the probability of teacher forcing."""
    number = isinstance(teacher_forcing, (int, float)) and not isinstance(teacher_forcing, bool)
    if not number or not 0 <= teacher_forcing <= 1:
        raise ValueError(f"{owner} expected teacher_forcing to be a probability, got {teacher_forcing!r}")
    if not teacher_forcing or forced is not None:
        if teacher_forcing:
            raise TypeError(f"{owner} expected forced or teacher_forcing, got both")
        return forced
    if targets is None:
        raise TypeError(f"{owner} expected targets, for teacher_forcing={teacher_forcing!r}")
    shape = (call.batch, steps) if call.layout == "BTCS" else (steps, call.batch)
    if not training:
        return torch.zeros(shape, dtype=torch.bool, device=call.device)
    return torch.rand(shape, device=call.device) < teacher_forcing
