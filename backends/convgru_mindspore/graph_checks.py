"""Check the arguments of a call where a graph is compiled, once for each graph.

The checks of ``convgru.calls`` see shapes and dtypes alone, some of whose dimensions may be free.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mindspore.ops import constexpr

from convgru.calls import ArrayInfo, Caller, CallSizes
from convgru_mindspore.arguments import caller, check_forecast, check_input, check_network, dtype_name, zeros
from convgru_mindspore.graphs import known


def ready_arrays(spec: Any, arrays: Any) -> Any:
    """Check names and shapes of the parameters; return the dtype that they share."""
    if not isinstance(arrays, dict):
        raise TypeError("convgru.mindspore expected parameters that are a dict by canonical name")
    infos = described(arrays.values())
    _checked_arrays(spec, tuple(arrays.keys()), infos)
    return infos[0][1]


def ready_network(
    name: str,
    spec: Any,
    layout: str,
    compute_dtype: Any,
    dtype: Any,
    x: Any,
    state: Any,
    seq_length: Any,
    context: Any,
    masks: Any,
) -> Any:
    """Check the whole call of a network; return the initial state, zeros for None."""
    infos, lengths, parts, names, values = None, None, None, None, None
    if state is not None:
        infos = described_state(state)
    if seq_length is not None:
        lengths = (known(seq_length.shape), seq_length.dtype)
    if context is not None:
        parts = described(context)
    if masks is not None:
        names, values = tuple(masks.keys()), described(masks.values())
    given = (lengths, parts, names, values)
    call = (name, spec, layout, compute_dtype, dtype)
    if state is None:
        return initial(spec, _checked_network(*call, (known(x.shape), x.dtype), infos, given), dtype)
    _checked_network(*call, (known(x.shape), x.dtype), infos, given)  # a statement: graphs drop what nothing reads
    return state


def ready_forecast(
    name: str,
    spec: Any,
    layout: str,
    compute_dtype: Any,
    dtype: Any,
    x: Any,
    steps: Any,
    state: Any,
    targets: Any,
    forced: Any,
    drawn: bool,
    resume: Any,
) -> Any:
    """Check the whole call of a forecaster; return the initial state, zeros for None."""
    infos = None if state is None else described_state(state)
    wanted = None if targets is None else (known(targets.shape), targets.dtype)
    where = None if forced is None else (known(forced.shape), forced.dtype)
    given = (steps, wanted, where, drawn, resume)
    call = (name, spec, layout, compute_dtype, dtype)
    if state is None:
        return initial(spec, _checked_forecast(*call, (known(x.shape), x.dtype), infos, given), dtype)
    _checked_forecast(*call, (known(x.shape), x.dtype), infos, given)
    return state


def initial(spec: Any, shapes: Any, dtype: Any) -> Any:
    """The initial state: zeros, or of free shapes None for each entry, zeros made by the loop."""
    return (None,) * entry_count(spec) if shapes is None else zeros(shapes, dtype)


@constexpr
def entry_count(spec: Any) -> int:
    """The number of entries of a state, one for each layer and direction."""
    return len(spec.recurrent.layers) * len(spec.recurrent.directions)


def described(tensors: Any) -> Any:
    """Shape and dtype of each tensor; no list, for graphs hold none of different shapes."""
    infos: Any = ()
    for each in tensors:
        infos = (*infos, (known(each.shape), each.dtype))
    return infos


def described_state(state: Any) -> Any:
    """Shape and dtype of each entry of a state, h or (h, c)."""
    infos: Any = ()
    for entry in state:
        info = described(entry) if isinstance(entry, (tuple, list)) else (known(entry.shape), entry.dtype)
        infos = (*infos, info)
    return infos


def _info(pair: Any) -> Any:
    """ArrayInfo from (shape, dtype), for checks while a graph compiles; they refuse NumPy's."""
    shape, dtype = pair
    return np.empty(0) if isinstance(dtype, np.dtype) else ArrayInfo(tuple(shape), dtype_name(dtype))


def _state_infos(state: Any) -> Any:
    """ArrayInfo of each entry of a state, a pair of them for (h, c)."""
    if state is None:
        return None
    return tuple(_info(e) if len(e[0]) == 0 or isinstance(e[0][0], int) else tuple(map(_info, e)) for e in state)


@constexpr
def _checked_arrays(spec: Any, names: Any, infos: Any) -> bool:
    """``Caller.parameters`` while a graph compiles."""
    caller(spec.title, spec, "TBCS").parameters(dict(zip(names, map(_info, infos), strict=True)))
    return True


SOME = 64
"""Stands for a free dimension while a graph compiles."""


def _check_free(call: Caller, dtype: Any, x: Any, state: Any) -> None:
    """Check a call whose input has free dimensions: axes, channels and dtypes of x and state."""
    channels = call.layout.index("C")
    shape = tuple(
        (call.spec.in_channels if axis == channels else SOME) if n == -1 else n for axis, n in enumerate(x[0])
    )
    sizes = check_input(call, _info((shape, x[1])), dtype)
    call.state(_completed(call, sizes, state, True), sizes)


def _completed(call: Caller, sizes: CallSizes, state: Any, free: bool) -> Any:
    """A state with its free dimensions as expected; with ``free`` all but the channels."""
    shapes, infos = call.state(None, sizes), _state_infos(state)
    if infos is None or len(infos) != len(shapes):
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
def _checked_network(
    name: str, spec: Any, layout: str, compute_dtype: Any, dtype: Any, x: Any, state: Any, given: Any
) -> Any:
    """``check_network`` while a graph compiles."""
    lengths, context, names, masks = given
    if -1 in x[0]:
        return _check_free(caller(name, spec, layout, compute_dtype), dtype, x, state)
    call = caller(name, spec, layout, compute_dtype)
    return check_network(
        call,
        dtype,
        _info(x),
        _completed(call, check_input(call, _info(x), dtype), state, False),
        None if lengths is None else _info(lengths),
        None if context is None else tuple(map(_info, context)),
        None if names is None else dict(zip(names, map(_info, masks), strict=True)),
    )


@constexpr
def _checked_forecast(
    name: str, spec: Any, layout: str, compute_dtype: Any, dtype: Any, x: Any, state: Any, given: Any
) -> Any:
    """``check_forecast`` while a graph compiles."""
    steps, targets, forced, drawn, resume = given
    if -1 in x[0]:
        caller(name, spec, layout, compute_dtype).steps(steps)
        return _check_free(caller(name, spec, layout, compute_dtype), dtype, x, state)
    call = caller(name, spec, layout, compute_dtype)
    return check_forecast(
        call,
        dtype,
        _info(x),
        steps,
        _completed(call, check_input(call, _info(x), dtype), state, False),
        None if targets is None else _info(targets),
        None if forced is None else _info(forced),
        drawn,
        resume,
    )
