"""Networks as pure functions of their arrays, x and state: what every MindSpore module here calls."""

from __future__ import annotations

from typing import Any, NamedTuple

import mindspore as ms
import mindspore.ops as mops
from mindspore.ops import constexpr

from convgru import equations
from convgru.registry import UnsupportedError
from convgru.shapes import check_dtype, check_input, check_state, check_steps, layer_prefix, state_leaves, state_shapes
from convgru_mindspore import native_ops, ops

Tensor = Any
BFLOAT16 = "MindSpore does not compute in bfloat16 on CPU: use float32, float16 or float64"


def run(spec: Any, arrays: Any, x: Tensor, state: Any = None, accurate: bool = True) -> Any:
    """Run a NetworkSpec on x (T, B, C, *S): output (T, B, H, *S) and final state.

    ``arrays`` maps canonical names to tensors of x's dtype; ``state`` None means zeros, else one entry for each layer, h or
    (h, c), of shape (B, H, *S). The equations are those of ``convgru.equations``; ``accurate`` False takes MindSpore's own
    sigmoid and tanh. Works in PyNative and, called from a construct or a jitted function, in graph mode, differentiably
    in both. Raises ValueError or TypeError, naming what is wrong.
    """
    state = ready_state(spec, x, state, arrays["layers.0.fwd.weight_ih"].dtype, "TBCS")
    return compute(spec, arrays, x, state, accurate)


def compute(spec: Any, arrays: Any, x: Tensor, state: Any, accurate: bool) -> Any:
    """``run`` without its checks, on a complete state."""
    time, batch = x.shape[0], x.shape[1]
    params = prepare(spec, arrays, "")
    top, state = _sequence(spec, params, x.reshape((time * batch, *x.shape[2:])), batch, state, accurate)
    return top.reshape((time, batch, *top.shape[1:])), state


def forecast(spec: Any, arrays: Any, x: Tensor, steps: int, state: Any = None, accurate: bool = True) -> Any:
    """Run a ForecasterSpec: x (T, B, C, *S) in, the ``steps`` frames that follow out, and the encoder's last state.

    Arguments and errors as in ``run``, and ValueError for ``steps`` that is no positive integer.
    """
    state = ready_state(spec, x, state, arrays["readout.weight"].dtype, "TBCS")
    return compute_forecast(spec, arrays, x, checked_steps(spec.title, steps), state, accurate)


def compute_forecast(spec: Any, arrays: Any, x: Tensor, steps: int, state: Any, accurate: bool) -> Any:
    """``forecast`` without its checks, on a complete state."""
    time, batch = x.shape[0], x.shape[1]
    params, readout = prepare(spec.encoder, arrays, "encoder."), ops.prepare_readout(spec, arrays)
    frame = x[time - 1]
    images = ops.patch(x.reshape((time * batch, *x.shape[2:])), spec.patch)
    frames = []
    for index in range(steps):
        if index > 0:
            images = ops.patch(frame, spec.patch)
        top, state = _sequence(spec.encoder, params, images, batch, state, accurate)
        if index == 0 and time > 1:
            top = mops.split(top, batch, 0)[time - 1]
        frame = equations.readout(ops, spec, readout, top, frame)
        frames.append(frame)
    return mops.stack(frames), state


def prepare(spec: Any, arrays: Any, prefix: str) -> Any:
    """Each layer's parameters in the form that the ops take, once a call."""
    params = []
    for index in range(len(spec.layers)):
        params.append(ops.prepare(spec.layers[index], arrays, index, prefix))
    return params


def _sequence(spec: Any, params: Any, x: Tensor, batch: int, state: Any, accurate: bool) -> Any:
    """All layers over the frames x (T·B, C, *S), time outermost: the top layer's states, stacked alike, and the final state."""
    final = []
    for index in range(len(spec.layers)):
        if accurate:
            x, parts = _layer(ops, spec.layers[index], params[index], x, batch, state[index])
        else:
            x, parts = _layer(native_ops, spec.layers[index], params[index], x, batch, state[index])
        final.append(parts)
    return x, tuple(final)


def _layer(module: Any, cell: Any, p: Any, x: Tensor, batch: int, entry: Any) -> Any:
    """One layer: its input convolution over all frames at once, then the loop over time."""
    gates = equations.input_gates(module, cell, p, x)
    pair = cell.cell == "lstm"
    parts = (entry[0], entry[1]) if pair else (entry,)
    outputs = []
    for frame in mops.split(gates, batch, 0):
        parts = equations.step_of(cell)(module, cell, p, frame, parts)
        outputs.append(parts[0])
    return mops.concat(outputs, 0), (parts if pair else parts[0])


def ready_state(spec: Any, x: Tensor, state: Any, dtype: Any, layout: str) -> Any:
    """The state to start from, zeros for None, once x and state have been found to fit spec and parameters of ``dtype``."""
    if state is None:
        return _zeros(checked_shapes(spec, x.shape, x.dtype, None, dtype, layout), x.dtype)
    found = []
    for entry in state:
        if isinstance(entry, (tuple, list)):
            parts = []
            for part in entry:
                parts.append((part.shape, part.dtype))
            found.append(tuple(parts))
        else:
            found.append((entry.shape, entry.dtype))
    checked_shapes(spec, x.shape, x.dtype, tuple(found), dtype, layout)
    return state


def _zeros(shapes: Any, dtype: Any) -> Any:
    state = []
    for shape in shapes:
        if isinstance(shape[0], tuple):
            state.append((mops.zeros(shape[0], dtype), mops.zeros(shape[1], dtype)))
        else:
            state.append(mops.zeros(shape, dtype))
    return tuple(state)


@constexpr
def checked_shapes(spec: Any, shape: Any, dtype: Any, state: Any, expected: Any, layout: str) -> Any:
    """``check_call`` while a graph is compiled, the state's tensors given as (shape, dtype)."""
    return check_call(spec, Like(shape, dtype), None if state is None else _likes(spec, state), expected, layout)


@constexpr
def canonical(layer: int, name: str) -> str:
    """The canonical name of one layer's parameter."""
    return layer_prefix(layer) + name


@constexpr
def checked_steps(title: str, steps: int) -> int:
    """``steps`` once it has been found to be a positive integer."""
    check_steps(title, steps)
    return steps


def dtype_name(dtype: Any) -> str:
    """``float32`` for mindspore.float32."""
    return str(dtype).lower()


class Like(NamedTuple):
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: Any


def _likes(spec: Any, state: Any) -> tuple[Any, ...]:
    """(shape, dtype) pairs as ``Like``; a pair of pairs stays a pair."""
    return tuple(Like(*e) if isinstance(e[0][0], int) else tuple(Like(*part) for part in e) for e in state)


def check_call(spec: Any, x: Any, state: Any, expected: Any, layout: str) -> tuple[Any, ...]:
    """Check x and state, anything with a shape and a dtype, against spec and the parameters' dtype; the state's shapes.

    ``layout`` is ``TBCS``, ``BTCS`` or ``BCS``. Raises ValueError, TypeError, or UnsupportedError for bfloat16.
    """
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, x.shape, layout)
    check_dtype(spec.title, "x", dtype_name(expected), dtype_name(x.dtype))
    shapes = state_shapes(spec, batch, size)
    if state is not None:
        check_state(spec.title, shapes, state)
        for name, part in state_leaves(spec, state):
            check_dtype(spec.title, name, dtype_name(expected), dtype_name(part.dtype))
    if x.dtype == ms.bfloat16:
        raise UnsupportedError(BFLOAT16)
    if batch == 0:
        raise UnsupportedError(f"MindSpore does not compute on an empty batch (input shape {tuple(x.shape)})")
    return shapes
