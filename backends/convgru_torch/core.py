"""The networks as pure functions of canonical tensors; the modules, functional_call and vmap all run these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from convgru import equations
from convgru.shapes import (
    check_dtype,
    check_input,
    check_state,
    check_steps,
    nest_state,
    parameter_shapes,
    state_leaves,
    state_shapes,
)
from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec, Spec
from convgru_torch import ops

Arrays = Mapping[str, Tensor]
State = tuple[Any, ...]
"""One entry for each layer: h (B, H, *S), or (h, c)."""
CASTABLE = (torch.float32, torch.float16, torch.bfloat16)
"""What autocast casts; it leaves float64 alone."""
CHUNK = 8 << 20
"""How many bytes of input gates to compute at once on a CPU."""


def run(
    spec: NetworkSpec, arrays: Arrays, x: Tensor, state: State | None = None, *, layout: str = "TBCS", owner: str = ""
) -> tuple[Tensor, State]:
    """Run a network on a sequence: the equations of ``convgru.equations``, layer by layer.

    Args:
        spec: what the network is (``convgru.spec.network``).
        arrays: its parameters, by canonical name (``layers.0.fwd.weight_ih`` …), of the shapes ``parameter_shapes(spec)``.
        x: (T, B, C, *S); or as ``layout`` says: ``BTCS``, or ``BCS`` for a single frame.
        state: one entry for each layer, h or (h, c), each (B, H, *S); None means zeros.
        layout: the axes of ``x`` and of the output.
        owner: how errors call the network; its title unless given.

    Returns:
        The last layer's hidden states in the layout of ``x``, and the final state. Under autocast convolutions run in
        autocast's dtype and the state keeps that of the parameters.

    Raises:
        ValueError: for a shape that is not what ``spec`` demands.
        TypeError: for what is no tensor, or not of the parameters' dtype.

    Source: Ballas et al. 2015 (arXiv:1511.06432), Shi et al. 2015 (arXiv:1506.04214).

    Example:
        >>> from convgru.spec import network
        >>> net = convgru.torch.ConvGRU(3, 8)
        >>> y, state = run(network("gru", 3, 8), dict(net.named_parameters()), torch.zeros(5, 2, 3, 16, 16))
    """
    owner = owner or spec.title
    parts = _admit(owner, spec, arrays, x, state, layout)
    params = [ops.prepare(cell, arrays, index) for index, cell in enumerate(spec.layers)]
    y, parts = _sequence(spec, params, time_first(x, layout), parts)
    return from_time_first(y, layout), _state_of(spec, parts)


def forecast(
    spec: ForecasterSpec,
    arrays: Arrays,
    x: Tensor,
    steps: int,
    state: State | None = None,
    *,
    layout: str = "TBCS",
    owner: str = "",
) -> tuple[Tensor, State]:
    """Predict the ``steps`` frames that follow ``x``; differentiable through all of them.

    The encoder reads the given frames; the first prediction is ``convgru.equations.readout`` of its top hidden state and the
    last frame; then the encoder reads each prediction in turn. Arguments, errors and layout as in ``run``, the
    parameters being those of a forecaster (``encoder.layers.0.fwd.weight_ih`` …, ``readout.weight``, ``readout.bias``).

    Returns:
        ``steps`` frames in the layout of ``x``, and the encoder's state after the last frame that it read.
    """
    owner = owner or spec.title
    check_steps(owner, steps)
    parts = _admit(owner, spec, arrays, x, state, layout)
    params = [ops.prepare(cell, arrays, index, "encoder.") for index, cell in enumerate(spec.encoder.layers)]
    readout = ops.prepare_readout(spec, arrays)
    frames = time_first(x, layout)
    inside = ops.patch(frames.flatten(0, 1), spec.patch)
    inside = inside.reshape(frames.shape[:2] + inside.shape[1:])
    top, parts = _sequence(spec.encoder, params, inside, parts)
    predictions = [equations.readout(ops, spec, readout, top[-1], frames[-1])]
    for _ in range(steps - 1):
        top, parts = _sequence(spec.encoder, params, ops.patch(predictions[-1], spec.patch)[None], parts)
        predictions.append(equations.readout(ops, spec, readout, top[-1], predictions[-1]))
    return from_time_first(torch.stack(predictions), layout), _state_of(spec, parts)


Parts = list[tuple[Tensor, ...]]
"""A state as the equations take it: for each layer (h,) or (h, c)."""


def _sequence(spec: NetworkSpec, params: Sequence[ops.Params], x: Tensor, state: Parts) -> tuple[Tensor, Parts]:
    final: Parts = []
    for cell, p, parts in zip(spec.layers, params, state, strict=True):
        x, parts = _layer(cell, p, x, parts)
        final.append(parts)
    return x, final


def _layer(cell: CellSpec, p: ops.Params, x: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer over x (T, B, C, *S): the input convolution of many frames at once, then the steps."""
    dtype = parts[0].dtype
    step = equations.step_of(cell)
    outputs = []
    for chunk in x.split(_frames_at_once(cell, x)):
        gates = equations.input_gates(ops, cell, p, chunk.flatten(0, 1))
        for gates_x in gates.reshape(chunk.shape[:2] + gates.shape[1:]).unbind(0):
            parts = step(ops, cell, p, gates_x, parts)
            # Without a bias, autocast would let the state fall to the convolution's own precision.
            parts = tuple(part.to(dtype) for part in parts)
            outputs.append(parts[0])
    return torch.stack(outputs), parts


def _frames_at_once(cell: CellSpec, x: Tensor) -> int:
    """How many frames to convolve at once: on a CPU large buffers cost more, in page faults, than they save."""
    time = x.shape[0]
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return time
    frame = x.shape[1] * prod(x.shape[3:]) * cell.gates * cell.hidden_channels * x.element_size()
    return max(1, min(time, CHUNK // max(1, frame)))


def time_first(x: Tensor, layout: str) -> Tensor:
    """The input in the order (T, B, C, *S)."""
    return x[None] if layout == "BCS" else x.transpose(0, 1) if layout == "BTCS" else x


def from_time_first(y: Tensor, layout: str) -> Tensor:
    """The inverse of ``time_first``."""
    return y[0] if layout == "BCS" else y.transpose(0, 1) if layout == "BTCS" else y


def _admit(owner: str, spec: Spec, arrays: Arrays, x: Tensor, state: State | None, layout: str) -> Parts:
    """Check a call and return its initial state, in the parameters' dtype and on the input's device."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{owner} expected an input that is a torch.Tensor, got {type(x).__name__}")
    batch, size = check_input(owner, spec.in_channels, spec.ndim, x.shape, layout)
    dtype = _check_arrays(owner, spec, arrays)
    autocast = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type) and dtype in CASTABLE
    _check_tensor(owner, "an input", dtype, x, autocast)
    shapes = state_shapes(spec, batch, size)
    if state is None:
        leaves = {name: x.new_zeros(shape, dtype=dtype) for name, shape in state_leaves(spec, shapes)}
    else:
        check_state(owner, shapes, state)
        leaves = dict(state_leaves(spec, state))
        for name, leaf in leaves.items():
            _check_tensor(owner, name, dtype, leaf, autocast)
    entries = nest_state(spec, {name: leaf.to(dtype) for name, leaf in leaves.items()})
    return [entry if isinstance(entry, tuple) else (entry,) for entry in entries]


def _check_arrays(owner: str, spec: Spec, arrays: Arrays) -> torch.dtype:
    """Check the parameters against the spec and return their dtype."""
    dtype: torch.dtype | None = None
    for name, shape in parameter_shapes(spec).items():
        if name not in arrays:
            raise ValueError(f"{owner} expected a parameter {name} of shape {shape}, got {sorted(arrays)}")
        array = arrays[name]
        if tuple(array.shape) != shape:
            raise ValueError(f"{owner} expected {name} of shape {shape}, got {tuple(array.shape)}")
        dtype = array.dtype if dtype is None else dtype
        check_dtype(owner, name, dtype, array.dtype)
    assert dtype is not None
    return dtype


def _check_tensor(owner: str, what: str, dtype: torch.dtype, tensor: Tensor, autocast: bool) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{owner} expected {what} that is a torch.Tensor, got {type(tensor).__name__}")
    if not (autocast and tensor.dtype in CASTABLE):
        check_dtype(owner, what, dtype, tensor.dtype)


def _state_of(spec: Spec, parts: Parts) -> State:
    """The state as users see it: h itself where it is alone."""
    return tuple(entry[0] if len(entry) == 1 else entry for entry in parts)
