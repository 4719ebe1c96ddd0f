"""The checks of a call: of tensors from Python, and while a graph is compiled of their shapes and dtypes."""

from __future__ import annotations

from typing import Any, NamedTuple

import mindspore as ms
import mindspore.ops as mops
import numpy as np
from mindspore.ops import constexpr

from convgru.calls import (
    check_context,
    check_dtype,
    check_input,
    check_lengths,
    check_masks,
    check_resume,
    check_shape,
    check_state,
    check_steps,
)
from convgru.errors import UnsupportedError
from convgru.spec.shapes import context_shapes, mask_shapes, parameter_shapes, state_leaves, state_shapes

BFLOAT16 = "MindSpore does not compute in bfloat16 on CPU: use float32, float16 or float64"


class Like(NamedTuple):
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


def dtype_name(dtype: Any) -> str:
    """``float32`` for mindspore.float32."""
    return str(dtype).lower()


def check_arrays(spec: Any, arrays: dict[str, Any]) -> None:
    """Check the parameters of a network, anything with a shape and a dtype, by canonical name. Raises ValueError or TypeError."""
    shapes = parameter_shapes(spec)
    missing, strange = sorted(shapes.keys() - arrays.keys()), sorted(arrays.keys() - shapes.keys())
    if missing or strange:
        raise ValueError(f"{spec.title} arrays: missing {missing or 'nothing'}, unexpected {strange or 'nothing'}")
    dtype = dtype_name(arrays[next(iter(shapes))].dtype)
    for name, shape in shapes.items():
        check_shape(f"{spec.title} {name}", shape, arrays[name])
        check_dtype(spec.title, name, dtype, dtype_name(arrays[name].dtype))


def check_call(spec: Any, x: Any, state: Any, expected: Any, layout: str) -> tuple[Any, ...]:
    """Check x and state, anything with a shape and a dtype, against spec and the parameters' dtype; the state's shapes.

    ``layout`` is ``TBCS``, ``BTCS`` or ``BCS``. Raises ValueError, TypeError, or UnsupportedError for bfloat16.
    """
    if isinstance(x.dtype, np.dtype):  # step, in a graph or out of it, sees no more of them than shape and dtype
        raise TypeError(f"{spec.title} expected x to be a mindspore.Tensor, got ndarray")
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, layout)
    check_dtype(spec.title, "x", dtype_name(expected), dtype_name(x.dtype))
    shapes = state_shapes(spec, batch, size)
    if state is not None:
        check_state(spec.title, shapes, state)
        for name, part in state_leaves(spec, state):
            if isinstance(part.dtype, np.dtype):
                raise TypeError(f"{spec.title} expected {name} to be a mindspore.Tensor, got ndarray")
            check_dtype(spec.title, name, dtype_name(expected), dtype_name(part.dtype))
    if x.dtype == ms.bfloat16:
        raise UnsupportedError(BFLOAT16)
    if batch == 0:
        raise UnsupportedError(f"MindSpore does not compute on an empty batch (input shape {tuple(x.shape)})")
    return shapes


def check_extras(spec: Any, x: Any, seq_length: Any, context: Any, masks: Any, expected: Any, layout: str) -> None:
    """Check what else a call of a network brings, anything with a shape and a dtype; a timed context is in the layout of x."""
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, layout)
    time = 1 if layout == "BCS" else x.shape[layout.index("T")]
    if seq_length is not None:
        kind = dtype_name(seq_length.dtype)
        stand_in = np.zeros(seq_length.shape, kind if kind != "bfloat16" else "float32")
        check_lengths(spec.title, stand_in, time, batch)
    if context is not None:
        if isinstance(context, (tuple, list)):
            context = [_time_first(part, spec.ndim, layout) for part in context]
        check_context(spec.title, context_shapes(spec, batch, size), context, time)
        for index, part in enumerate(context):
            check_dtype(spec.title, f"context[{index}]", dtype_name(expected), dtype_name(part.dtype))
    if masks is not None:
        if not isinstance(masks, dict):
            raise TypeError(f"{spec.title} expected masks that are a dict by name, got {type(masks).__name__}")
        check_masks(spec.title, mask_shapes(spec, time, batch, size), masks)
        for name, mask in masks.items():
            check_dtype(spec.title, f"mask {name}", dtype_name(expected), dtype_name(mask.dtype))


def _time_first(part: Any, ndim: int, layout: str) -> Any:
    if layout != "BTCS" or not hasattr(part, "shape") or len(part.shape) != ndim + 3:
        return part
    return Like((part.shape[1], part.shape[0], *part.shape[2:]), part.dtype)


def check_teaching(spec: Any, x: Any, steps: int, targets: Any, forced: Any, expected: Any, layout: str) -> None:
    """Check the targets of teacher forcing, and where it forces, which may be None; both in the layout of x."""
    if targets is None and forced is None:
        return
    if targets is None:
        raise TypeError("Forecaster expected targets and forced together")
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, layout)
    lead = (batch, steps) if layout == "BTCS" else (steps, batch)
    check_shape("Forecaster targets", (*lead, spec.channels, *size), targets)
    check_dtype(spec.title, "targets", dtype_name(expected), dtype_name(targets.dtype))
    if forced is not None:
        check_shape("Forecaster forced", lead, forced)
        check_dtype(spec.title, "forced", "bool", dtype_name(forced.dtype))


def ready_arrays(spec: Any, arrays: Any) -> Any:
    """The dtype of the parameters, once they have been found to be those of ``spec``."""
    if not isinstance(arrays, dict):
        raise TypeError("convgru.mindspore expected arrays that are a dict by canonical name")
    kinds = described(arrays.values())
    _checked_arrays(spec, tuple(arrays.keys()), kinds)
    return kinds[0][1]


def ready_state(spec: Any, x: Any, state: Any, dtype: Any, layout: str) -> Any:
    """The state to start from, zeros for None, once x and state have been found to fit spec and parameters of ``dtype``."""
    if state is None:
        return _zeros(_checked_shapes(spec, x.shape, x.dtype, None, dtype, layout), x.dtype)
    found = []
    for entry in state:
        if isinstance(entry, (tuple, list)):
            found.append(described(entry))
        else:
            found.append((entry.shape, entry.dtype))
    _checked_shapes(spec, x.shape, x.dtype, tuple(found), dtype, layout)
    return state


def described(tensors: Any) -> Any:
    """Shape and dtype of each."""
    found = []
    for each in tensors:
        found.append((each.shape, each.dtype))
    return tuple(found)


def ready_extras(spec: Any, x: Any, seq_length: Any, context: Any, masks: Any, dtype: Any, layout: str) -> Any:
    """(seq_length, context, masks), time first, once they have been found to fit."""
    lengths, parts, names, values = None, None, None, None
    if seq_length is not None:
        lengths = (seq_length.shape, seq_length.dtype)
    if context is not None:
        parts = described(context)
    if masks is not None:
        names, values = tuple(masks.keys()), described(masks.values())
    _checked_extras(spec, x.shape, x.dtype, lengths, parts, names, values, dtype, layout)
    if context is not None and layout == "BTCS":
        turned = []
        for each in context:
            turned.append(mops.swapaxes(each, 0, 1) if len(each.shape) == len(x.shape) else each)
        context = tuple(turned)
    return seq_length, context, masks


def ready_teaching(spec: Any, x: Any, steps: int, targets: Any, forced: Any, dtype: Any, layout: str) -> Any:
    """(targets, forced), time first, once they have been found to fit."""
    if targets is None and forced is None:
        return None, None
    wanted = None if targets is None else (targets.shape, targets.dtype)
    given = None if forced is None else (forced.shape, forced.dtype)
    _checked_teaching(spec, x.shape, x.dtype, steps, wanted, given, dtype, layout)
    if layout == "BTCS":
        targets = mops.swapaxes(targets, 0, 1)
        forced = None if forced is None else mops.swapaxes(forced, 0, 1)
    return targets, forced


def _zeros(shapes: Any, dtype: Any) -> Any:
    state = []
    for shape in shapes:
        if isinstance(shape[0], tuple):
            state.append((mops.zeros(shape[0], dtype), mops.zeros(shape[1], dtype)))
        else:
            state.append(mops.zeros(shape, dtype))
    return tuple(state)


@constexpr
def _checked_arrays(spec: Any, names: Any, kinds: Any) -> bool:
    """``check_arrays`` while a graph is compiled, tensors given as (shape, dtype)."""
    check_arrays(spec, dict(zip(names, [Like(*each) for each in kinds], strict=True)))
    return True


@constexpr
def _checked_shapes(spec: Any, shape: Any, dtype: Any, state: Any, expected: Any, layout: str) -> Any:
    """``check_call`` while a graph is compiled, the state's tensors given as (shape, dtype)."""
    return check_call(spec, Like(shape, dtype), None if state is None else _likes(state), expected, layout)


def _likes(state: Any) -> tuple[Any, ...]:
    """(shape, dtype) pairs as ``Like``; a pair of pairs stays a pair."""
    return tuple(Like(*e) if isinstance(e[0][0], int) else tuple(Like(*part) for part in e) for e in state)


@constexpr
def _checked_extras(
    spec: Any, shape: Any, dtype: Any, lengths: Any, context: Any, names: Any, values: Any, expected: Any, layout: str
) -> bool:
    """``check_extras`` while a graph is compiled, tensors given as (shape, dtype)."""
    masks = None if names is None else dict(zip(names, [Like(*each) for each in values], strict=True))
    parts = None if context is None else [Like(*each) for each in context]
    seq_length = None if lengths is None else Like(*lengths)
    check_extras(spec, Like(shape, dtype), seq_length, parts, masks, expected, layout)
    return True


@constexpr
def _checked_teaching(
    spec: Any, shape: Any, dtype: Any, steps: int, targets: Any, forced: Any, expected: Any, layout: str
) -> bool:
    """``check_teaching`` while a graph is compiled, tensors given as (shape, dtype)."""
    true = None if targets is None else Like(*targets)
    where = None if forced is None else Like(*forced)
    check_teaching(spec, Like(shape, dtype), steps, true, where, expected, layout)
    return True


@constexpr
def checked_resume(title: str, resume: bool, time: int, state: bool) -> bool:
    """``resume`` once it has been found to go with so many frames, and with a state if there is one."""
    check_resume(title, resume, time, state or None)
    return resume


@constexpr
def checked_steps(title: str, steps: int) -> int:
    """``steps`` once it has been found to be a positive integer."""
    check_steps(title, steps)
    return steps
