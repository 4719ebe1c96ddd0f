"""Check the arguments of a call in code that Python runs or that is compiled to a graph.

Where a graph is compiled, once for each graph: the checks of ``convgru.calls`` see shapes and
dtypes alone, some of whose dimensions may be free.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore.common import dtype as dtypes
from mindspore.ops import constexpr

from convgru.calls import ArrayInfo, Caller, CallSizes, flags
from convgru_mindspore.arguments import (
    caller,
    check_forecast,
    check_input,
    check_network,
    check_teacher_forcing,
    dtype_name,
    zeros,
)
from convgru_mindspore.graphs import compiling, known


def ready_arrays(spec: Any, arrays: Any) -> Any:
    """Check names and shapes of the parameters; return the dtype that they share."""
    if not compiling():
        return _arrays_now(spec, arrays)
    if not isinstance(arrays, dict):
        raise TypeError("convgru.mindspore expected parameters that are a dict by canonical name")
    infos = described(arrays.values())
    _checked_arrays(spec, tuple(arrays.keys()), infos)
    return infos[0][1]


def ready_network(call: Any, x: Any, state: Any, seq_length: Any, context: Any, masks: Any) -> Any:
    """Check the whole call of a network; return the initial state, zeros for None.

    ``call``: the name in errors, the spec, the layout of x, the dtype of mixed precision or None,
    the dtype of the parameters.
    """
    if not compiling():
        return _network_now(call, x, state, seq_length, context, masks)
    names, values = None, masks
    if isinstance(masks, dict):
        names, values = tuple(masks.keys()), described(masks.values())
    given = (described_one(seq_length), described(context), names, values)
    frames, parts = described_one(x), described_state(state)
    if state is None:
        return initial(call[1], _checked_network(call, frames, parts, given), call[4])
    _checked_network(call, frames, parts, given)  # a statement: graphs drop what nothing reads
    return state


def ready_forecast(
    call: Any, x: Any, steps: Any, state: Any, targets: Any, forced: Any, drawn: bool, resume: Any
) -> Any:
    """Check the whole call of a forecaster; return the initial state, zeros for None.

    ``call`` as for ``ready_network``.
    """
    if not compiling():
        return _forecast_now(call, x, steps, state, targets, forced, drawn, resume)
    given = (steps, described_one(targets), described_one(forced), drawn, resume)
    frames, parts = described_one(x), described_state(state)
    if state is None:
        return initial(call[1], _checked_forecast(call, frames, parts, given), call[4])
    _checked_forecast(call, frames, parts, given)
    return state


def initial(spec: Any, shapes: Any, dtype: Any) -> Any:
    """The initial state: zeros, or of free shapes None for each entry, zeros made by the loop."""
    return (None,) * entry_count(spec) if shapes is None else zeros(shapes, dtype)


@constexpr
def entry_count(spec: Any) -> int:
    """The number of entries of a state, one for each layer and direction."""
    return len(spec.recurrent.layers) * len(spec.recurrent.directions)


@constexpr
def checked_flags(name: str, every: Any, last: Any, training: Any) -> bool:
    """Raise TypeError unless each is True or False."""
    flags(name, return_all_layers=every, last_only=last, training=training)
    return True


def ready_chance(name: str, chance: Any, targets: Any, forced: Any) -> Any:
    """Check the probability of teacher forcing, a number or a tensor; None for never."""
    if chance is None:
        return None
    number = None if isinstance(chance, ms.Tensor) else chance
    return chance if _checked_chance(name, number, targets is not None, forced is not None) else None


@constexpr
def _checked_chance(name: str, number: Any, targets: bool, forced: bool) -> bool:
    """Whether teacher forcing may happen; ``number`` is None for a tensor."""
    chance = 1.0 if number is None else number
    check_teacher_forcing(name, chance, targets or None, forced or None)
    return bool(chance > 0)


@constexpr(reuse_result=False)  # pyright: ignore[reportCallIssue]
def _arrays_now(spec: Any, arrays: Any) -> Any:
    """``ready_arrays`` where Python runs, on real tensors; a graph sees but its name."""
    caller(spec.title, spec, "TBCS").parameters(arrays)
    return next(iter(arrays.values())).dtype


@constexpr(reuse_result=False)  # pyright: ignore[reportCallIssue]
def _network_now(call: Any, x: Any, state: Any, seq_length: Any, context: Any, masks: Any) -> Any:
    """``ready_network`` where Python runs."""
    shapes = check_network(caller(*call[:4]), call[4], x, state, seq_length, context, masks)
    return zeros(shapes, call[4]) if state is None else state


@constexpr(reuse_result=False)  # pyright: ignore[reportCallIssue]
def _forecast_now(
    call: Any, x: Any, steps: Any, state: Any, targets: Any, forced: Any, drawn: bool, resume: Any
) -> Any:
    """``ready_forecast`` where Python runs."""
    shapes = check_forecast(caller(*call[:4]), call[4], x, steps, state, targets, forced, drawn, resume)
    return zeros(shapes, call[4]) if state is None else state


def described_one(value: Any) -> Any:
    """Shape and dtype of a tensor; anything else as it is, for the check to refuse."""
    return (known(value.shape), value.dtype) if isinstance(value, ms.Tensor) else value


def described(tensors: Any) -> Any:
    """Shape and dtype of each tensor; no list, for graphs hold none of different shapes."""
    if tensors is None or isinstance(tensors, (int, float, str, ms.Tensor)):
        return described_one(tensors)
    infos: Any = ()
    for each in tensors:
        infos = (*infos, described_one(each))
    return infos


def described_state(state: Any) -> Any:
    """Shape and dtype of each entry of a state, h or (h, c)."""
    if not isinstance(state, (tuple, list)):
        return described_one(state)
    infos: Any = ()
    for entry in state:
        infos = (*infos, described(entry))
    return infos


def _info(value: Any) -> Any:
    """What was described: ArrayInfo for (shape, dtype), a tuple of them, or the value itself."""
    if not isinstance(value, tuple):
        return value
    if len(value) == 2 and isinstance(value[1], dtypes.Type):
        return ArrayInfo(value[0], dtype_name(value[1]))
    return tuple(map(_info, value))


def _infos(value: Any) -> Any:
    """The same for a state or a context, which a single tensor must not be taken for."""
    info = _info(value)
    return ms.Tensor(0) if isinstance(info, ArrayInfo) else info


@constexpr
def _checked_arrays(spec: Any, names: Any, infos: Any) -> bool:
    """``Caller.parameters`` while a graph compiles."""
    caller(spec.title, spec, "TBCS").parameters(dict(zip(names, map(_info, infos), strict=True)))
    return True


SOME = 64
"""Stands for a free dimension while a graph compiles."""


def _shapes(call: Any, x: Any, state: Any) -> tuple[Caller, Any, Any]:
    """The checks of this call, and what is known of its input and its state.

    With a free input their sizes and the state's shapes are checked here, as far as they are known.
    """
    check, info = caller(*call[:4]), _info(x)
    if not isinstance(info, ArrayInfo) or -1 not in info.shape:
        return check, info, _completed(check, check_input(check, info, call[4]), state, False)
    channels = check.layout.index("C")
    shape = tuple(
        (check.spec.in_channels if axis == channels else SOME) if n == -1 else n for axis, n in enumerate(info.shape)
    )
    sizes = check_input(check, ArrayInfo(shape, info.dtype), call[4])
    check.state(_completed(check, sizes, state, True), sizes)
    return check, None, None


def _completed(call: Caller, sizes: CallSizes, state: Any, free: bool) -> Any:
    """A state with its free dimensions as expected; with ``free`` all but the channels."""
    shapes, infos = call.state(None, sizes), _infos(state)
    if not isinstance(infos, tuple) or len(infos) != len(shapes):
        return infos
    return tuple(_filled(info, shape, free) for info, shape in zip(infos, shapes, strict=True))


def _filled(info: Any, shape: Any, free: bool) -> Any:
    """One entry of it, h or (h, c)."""
    if isinstance(shape[0], tuple):
        pair = type(info) is tuple and len(info) == len(shape)
        return tuple(_filled(i, s, free) for i, s in zip(info, shape, strict=True)) if pair else info
    if not isinstance(info, ArrayInfo) or len(info.shape) != len(shape):
        return info
    known_shape = (
        wanted if n == -1 or (free and axis != 1) else n
        for axis, (n, wanted) in enumerate(zip(info.shape, shape, strict=True))
    )
    return ArrayInfo(tuple(known_shape), info.dtype)


@constexpr
def _checked_network(call: Any, x: Any, state: Any, given: Any) -> Any:
    """``check_network`` while a graph compiles; None for a free input."""
    check, info, infos = _shapes(call, x, state)
    if info is None:
        return None
    lengths, context, names, masks = given
    values = _info(masks) if names is None else dict(zip(names, map(_info, masks), strict=True))
    return check_network(check, call[4], info, infos, _info(lengths), _infos(context), values)


@constexpr
def _checked_forecast(call: Any, x: Any, state: Any, given: Any) -> Any:
    """``check_forecast`` while a graph compiles; None for a free input."""
    steps, targets, forced, drawn, resume = given
    check, info, infos = _shapes(call, x, state)
    if info is None:
        check.steps(steps)
        return None
    return check_forecast(check, call[4], info, steps, infos, _info(targets), _info(forced), drawn, resume)
