"""What a call of a network may bring besides its input and state, in NumPy, channels first: the same for all backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]
AXES = {"T": "time", "B": "batch", "C": "channels"}


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


def check_input(owner: str, channels: int, ndim: int, shape: Sequence[int], layout: str) -> tuple[int, Shape]:
    """Check the shape of an input and return its batch and spatial sizes.

    ``layout`` names the axes, ``S`` standing for all spatial ones: ``TBCS``, ``BTSC``, or ``BCS`` for a single frame.
    Raises ValueError, naming ``owner``, the axis, what was expected and what came.
    """
    shape = tuple(shape)
    axes = layout.replace("S", "DHW"[-ndim:])
    if len(shape) != len(axes):
        raise ValueError(
            f"{owner} expected an input of {len(axes)} axes ({', '.join(axes)}), got {len(shape)} (input shape {shape})"
        )
    axis = axes.index("C")
    if shape[axis] != channels:
        raise ValueError(
            f"{owner} expected {channels} input channels on axis {axis}, got {shape[axis]} (input shape {shape})"
        )
    for axis, name in enumerate(axes):
        if name != "B" and shape[axis] < 1:
            raise ValueError(
                f"{owner} expected at least 1 on axis {axis} ({AXES.get(name, name)}), got {shape[axis]} (input shape {shape})"
            )
    start = layout.index("S")
    return shape[axes.index("B")], shape[start : start + ndim]


def check_state(owner: str, expected: Sequence[Any], state: Any, layout: str = "BCS") -> None:
    """Check a given state against the shapes that ``state_shapes`` demands; every array must have a ``shape``.

    ``expected`` is channels first; ``layout`` ``BSC`` says that the state at hand is channels last. Raises ValueError or
    TypeError, naming the layer and the part.
    """
    if not isinstance(state, (tuple, list)):
        raise TypeError(
            f"{owner} expected a state that is a tuple of {len(expected)} (one entry for each layer), got {type(state).__name__}"
        )
    if len(state) != len(expected):
        raise ValueError(f"{owner} expected a state of {len(expected)} (one entry for each layer), got {len(state)}")
    for index, (want, got) in enumerate(zip(expected, state, strict=True)):
        pair = isinstance(want[0], tuple)
        if pair and not (isinstance(got, (tuple, list)) and len(got) == 2):
            raise TypeError(f"{owner} expected state[{index}] to be a pair (h, c), got {type(got).__name__}")
        parts = zip("hc", want, got, strict=True) if pair else (("h", want, got),)
        for name, shape, array in parts:
            _check_state_part(f"{owner} state[{index}] ({name})", shape, array, layout)


def _check_state_part(name: str, shape: Shape, array: Any, layout: str) -> None:
    check_shape(name, shape if layout == "BCS" else (shape[0], *shape[2:], shape[1]), array)


def check_shape(name: str, expected: Sequence[Any], array: Any) -> None:
    """Raise TypeError for what is no array, ValueError for one of another shape."""
    if not hasattr(array, "shape"):
        raise TypeError(f"{name} expected an array, got {type(array).__name__}")
    if tuple(array.shape) != tuple(expected):
        raise ValueError(f"{name} expected shape {tuple(expected)}, got {tuple(array.shape)}")


def check_dtype(owner: str, what: str, expected: object, got: object) -> None:
    """Raise TypeError unless ``what`` has the dtype of the parameters."""
    if expected != got:
        raise TypeError(f"{owner} expected {what} of dtype {expected} (that of its parameters), got {got}")


def check_steps(owner: str, steps: object) -> None:
    """Raise ValueError unless ``steps``, how many frames to forecast, is a positive integer."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(
            f"{owner} expected steps, how many frames to forecast, to be a positive integer, got {steps!r}"
        )
