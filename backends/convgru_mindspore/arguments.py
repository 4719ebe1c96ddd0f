"""Validate the arguments of a call, with ``convgru.calls.Caller``, and cast them for the loops.

Modules called from Python check real tensors. While a graph compiles, and in the pure functions,
the same checks see shapes and dtypes alone, once for each graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any, TypeVar

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru.calls import ArrayInfo, Caller, CallSizes
from convgru.errors import UnsupportedError
from convgru.spec import Spec

BFLOAT16 = "MindSpore does not compute in bfloat16 on CPU: use float32, float16 or float64"
LOCK = threading.RLock()
"""Held by a call of a module: MindSpore's operations are not safe in several threads at once.

A loop of ``ops.Conv2D``, ``tanh`` and ``split`` in eight threads ends in a segmentation fault, an
internal error or never.
"""
Function = TypeVar("Function", bound=Callable[..., Any])


def one_at_a_time(call: Function) -> Function:
    """Let a method be called in one thread at a time, whatever module it is of."""

    @wraps(call)
    def locked(*args: Any, **options: Any) -> Any:
        with LOCK:
            return call(*args, **options)

    return locked  # type: ignore[return-value]


def dtype_name(dtype: Any) -> str:
    """``float32`` for mindspore.float32."""
    return str(dtype).lower()


def in_graph_mode() -> bool:
    """Whether MindSpore compiles what is called now."""
    return bool(ms.get_context("mode") == ms.GRAPH_MODE)


def describe(value: Any) -> ArrayInfo | None:
    """Shape and dtype of a tensor; None for anything else."""
    if isinstance(value, ArrayInfo):
        return value
    return ArrayInfo(tuple(value.shape), dtype_name(value.dtype)) if isinstance(value, ms.Tensor) else None


@lru_cache(maxsize=256)
def caller(name: str, spec: Spec, layout: str, compute_dtype: Any = None) -> Caller:
    """The checks of a call; under mixed precision tensors of ``compute_dtype`` are accepted too."""
    low = None if compute_dtype is None else dtype_name(compute_dtype)
    return Caller(
        name, spec, layout, describe, "a mindspore.Tensor", lambda wanted, got: got in (wanted, low), "seq_length"
    )


def check_input(call: Caller, x: Any, dtype: Any) -> CallSizes:
    """Check x, return its sizes. Raises UnsupportedError for bfloat16 and for an empty batch."""
    sizes = call.input(x, dtype_name(dtype))
    if sizes.dtype == "bfloat16":
        raise UnsupportedError(BFLOAT16)
    if sizes.batch == 0:
        raise UnsupportedError(f"MindSpore does not compute on an empty batch (input shape {tuple(x.shape)})")
    return sizes


def check_network(
    call: Caller, dtype: Any, x: Any, state: Any, seq_length: Any, context: Any, masks: Any
) -> tuple[Any, ...]:
    """Check a network's call; return the shapes of its state."""
    sizes = check_input(call, x, dtype)
    shapes = call.state(state, sizes)
    if seq_length is not None:
        call.lengths(seq_length, sizes)
        if isinstance(seq_length, ms.Tensor):
            call.length_values(seq_length.asnumpy(), sizes)
    if context is not None:
        call.context(context, sizes)
    if masks is not None:
        call.masks(masks, sizes)
    return shapes


def check_forecast(
    call: Caller, dtype: Any, x: Any, steps: Any, state: Any, targets: Any, forced: Any, drawn: bool, resume: Any
) -> tuple[Any, ...]:
    """Check a forecaster's call; return the shapes of its state."""
    sizes = check_input(call, x, dtype)
    call.steps(steps)
    shapes = call.state(state, sizes)
    call.resume(resume, state, sizes)
    call.targets(targets, forced, sizes, steps, drawn=drawn)
    return shapes


def check_teacher_forcing(name: str, chance: Any, targets: Any, forced: Any) -> None:
    """Check the probability of teacher forcing. Raises ValueError or TypeError."""
    if isinstance(chance, bool) or not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
        raise ValueError(f"{name} expected teacher_forcing to be a probability, got {chance!r}")
    if chance and forced is not None:
        raise TypeError(f"{name} expected forced or teacher_forcing, got both")
    if chance and targets is None:
        raise TypeError(f"{name} expected targets, for teacher_forcing={chance!r}")


def live(value: Any) -> Any:
    """Make the containers inputs of the graph, not constants, or each call recompiles."""
    if value is None or not in_graph_mode():
        return value
    if isinstance(value, Mapping):
        return ms.mutable(dict(value))
    return ms.mutable(tuple(tuple(entry) if isinstance(entry, (tuple, list)) else entry for entry in value))


def zeros(shapes: Any, dtype: Any) -> Any:
    """A state of zeros."""
    state = []
    for shape in shapes:
        if isinstance(shape[0], tuple):
            state.append((mops.zeros(shape[0], dtype), mops.zeros(shape[1], dtype)))
        else:
            state.append(mops.zeros(shape, dtype))
    return tuple(state)


def cast_state(state: Any, dtype: Any) -> Any:
    """The state in the parameters' dtype; under mixed precision it may come in another one."""
    entries: list[Any] = []
    for entry in state:
        if entry is None:
            entries.append(None)
        elif isinstance(entry, (tuple, list)):
            entries.append(cast_all(entry, dtype))
        else:
            entries.append(entry if entry.dtype == dtype else entry.astype(dtype))
    return tuple(entries)


def cast_all(tensors: Any, dtype: Any) -> Any:
    """Each tensor in this dtype."""
    cast = []
    for each in tensors:
        cast.append(each if each.dtype == dtype else each.astype(dtype))
    return tuple(cast)


def cast_extras(extras: Any, dtype: Any, ndim: int, batch_first: bool) -> Any:
    """Lengths, context and masks in the parameters' dtype; a context of a sequence time first."""
    seq_length, context, masks = extras
    if seq_length is not None and not isinstance(seq_length, ms.Tensor):
        seq_length = ms.Tensor(seq_length, ms.int32)
    if context is not None:
        turned = []
        for each in cast_all(context, dtype):
            turned.append(mops.swapaxes(each, 0, 1) if batch_first and len(each.shape) == ndim + 3 else each)
        context = tuple(turned)
    if masks is not None:
        cast = {}
        for name in masks:
            mask = masks[name]
            cast[name] = mask if mask.dtype == dtype else mask.astype(dtype)
        masks = cast
    return seq_length, context, masks


@constexpr(reuse_result=False)  # pyright: ignore[reportCallIssue]
def compiled_cells() -> bool:
    """Whether MindSpore would compile a graph for a cell called now."""
    return in_graph_mode()
