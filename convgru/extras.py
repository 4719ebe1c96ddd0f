"""What a call of a network may bring besides its input and state, in NumPy, channels first: the same for all backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convgru.shapes import check_shape, context_shapes, mask_shapes, patched_size
from convgru.spec import ForecasterSpec, Spec


@dataclass(frozen=True)
class Extras:
    """Everything is optional.

    ``lengths`` (B,): valid frames of each sample. ``context``: for each layer and direction (B, G·H, *S) or (T, B, G·H, *S), added to
    the pre-activations. ``masks``: of dropout and zoneout, by the names of ``convgru.shapes.mask_shapes``; None is
    evaluation. For forecasters ``targets`` (steps, B, C, *S) and ``forced`` (steps, B): where it is true the next step reads the target
    instead of the prediction (teacher forcing). ``resume``: the forecaster goes on from the state of a call before (``check_resume``).
    """

    lengths: np.ndarray | None = None
    context: Sequence[np.ndarray] | None = None
    masks: Mapping[str, np.ndarray] | None = None
    targets: np.ndarray | None = None
    forced: np.ndarray | None = None
    resume: bool = False

    @property
    def given(self) -> list[str]:
        """The names of what is there."""
        arrays = ("lengths", "context", "masks", "targets", "forced")
        return [name for name in arrays if getattr(self, name) is not None] + ["resume"] * bool(self.resume)

    def leaves(self) -> dict[str, np.ndarray]:
        """What a gradient may be taken with respect to, by name (``context.0`` …)."""
        return {f"context.{i}": array for i, array in enumerate(self.context or ())}


def check_lengths(owner: str, lengths: Any, time: int, batch: int) -> None:
    """Raise ValueError or TypeError unless ``lengths`` are ``batch`` integers from 0 to ``time``."""
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu" or array.shape != (batch,):
        raise ValueError(
            f"{owner} expected lengths to be {batch} integers (one for each sample), got {array.dtype} of shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() > time):
        raise ValueError(
            f"{owner} expected lengths from 0 to {time} (the time steps of the input), got {array.tolist()}"
        )


def check_extras(
    spec: Spec, extras: Extras, time: int, batch: int, size: Sequence[int], steps: int | None = None
) -> None:
    """Check everything against the spec and the input's sizes. Raises ValueError or TypeError, naming what is wrong."""
    forecaster = isinstance(spec, ForecasterSpec)
    allowed = ("targets", "forced", "resume") if forecaster else ("lengths", "context", "masks")
    for name in extras.given:
        if name not in allowed:
            raise TypeError(f"{spec.title} expected no {name}")
    if extras.lengths is not None:
        check_lengths(spec.title, extras.lengths, time, batch)
    if isinstance(spec, ForecasterSpec):
        patched_size(spec, size)
        if (extras.targets is None) != (extras.forced is None):
            raise TypeError("Forecaster expected targets and forced together")
        for name, shape in (("targets", (steps, batch, spec.channels, *size)), ("forced", (steps, batch))):
            array = getattr(extras, name)
            if array is not None:
                check_shape(f"Forecaster {name}", shape, array)
        return
    if extras.context is not None:
        check_context(spec.title, context_shapes(spec, batch, size), extras.context, time)
    if extras.masks is not None:
        check_masks(spec.title, mask_shapes(spec, time, batch, size), extras.masks)


def check_resume(owner: str, resume: object, time: int, state: object) -> None:
    """Raise unless a forecaster can go on so: from the last frame alone, and the state that the call before returned.

    TypeError for ``resume`` that is no bool, ValueError for another number of frames and for no state.
    """
    if not isinstance(resume, bool):
        raise TypeError(f"{owner} expected resume to be True or False, got {resume!r}")
    if resume and time != 1:
        raise ValueError(f"{owner} expected one frame to resume from (the last of the call before), got {time}")
    if resume and state is None:
        raise ValueError(f"{owner} expected a state to resume from (what the call before returned), got None")


def check_context(owner: str, expected: Sequence[tuple[int, ...]], context: Any, time: int) -> None:
    """Check a context, each array with or without time in front, against what ``context_shapes`` says."""
    if not isinstance(context, (tuple, list)):
        raise TypeError(
            f"{owner} expected a context of {len(expected)} arrays (one for each layer and direction), got {type(context).__name__}"
        )
    if len(context) != len(expected):
        raise ValueError(
            f"{owner} expected a context of {len(expected)} arrays (one for each layer and direction), got {len(context)}"
        )
    for index, (shape, array) in enumerate(zip(expected, context, strict=True)):
        check_shape(
            f"{owner} context[{index}]",
            (time, *shape) if len(getattr(array, "shape", ())) > len(shape) else shape,
            array,
        )


def check_masks(owner: str, expected: Mapping[str, tuple[int, ...]], masks: Mapping[str, Any]) -> None:
    """Check masks by name and shape against what ``mask_shapes`` says."""
    if not isinstance(masks, Mapping):
        raise TypeError(f"{owner} expected masks to be a mapping from names to arrays, got {type(masks).__name__}")
    missing, strange = sorted(expected.keys() - masks.keys()), sorted(masks.keys() - expected.keys())
    if missing or strange:
        raise ValueError(f"{owner} masks: missing {missing or 'nothing'}, unexpected {strange or 'nothing'}")
    for name, shape in expected.items():
        check_shape(f"{owner} mask {name}", shape, masks[name])
