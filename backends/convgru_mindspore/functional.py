"""Networks and forecasters as pure functions of their arrays, x and state; ``detach``."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops

from convgru_mindspore import forecast as forecasts
from convgru_mindspore import loop, ops
from convgru_mindspore.arguments import cast_extras
from convgru_mindspore.graph_checks import checked_flags, ready_arrays, ready_chance, ready_forecast, ready_network
from convgru_mindspore.masks import draw

Tensor = Any


def run(
    spec: Any,
    arrays: Any,
    x: Tensor,
    state: Any = None,
    seq_length: Any = None,
    context: Any = None,
    masks: Any = None,
    return_all_layers: bool = False,
    last_only: bool = False,
    training: bool = False,
) -> Any:
    """Run a network on a sequence, by the equations of ``convgru.equations``.

    Works in PyNative mode and, called from a construct or a jitted function, in graph mode,
    differentiably in both.

    Args:
        spec (NetworkSpec): The network.
        arrays (dict): The parameters by canonical name, tensors of one dtype.
        x (Tensor): The input (T, B, C, *S), of the parameters' dtype.
        state (tuple): For each layer and direction h, or (h, c) of an LSTM, each (B, H, *S).
            Default: ``None``, zeros.
        seq_length, context, masks, return_all_layers, last_only: As in the call of
            ``convgru.mindspore.ConvGRU``.
        training (bool): Whether to draw masks of dropout and zoneout where none are given. Default:
            ``False``.

    Returns:
        The output (T, B, H, *S) and the final state.

    Raises:
        ValueError: If a shape or a name does not fit ``spec``.
        TypeError: If an argument is of the wrong kind or dtype.
    """
    checked_flags(spec.title, return_all_layers, last_only, training)
    dtype = ready_arrays(spec, arrays)
    state = ready_network((spec.title, spec, "TBCS", None, dtype), x, state, seq_length, context, masks)
    extras = cast_extras((seq_length, context, masks), dtype, spec.ndim, False)
    params = loop.prepare(spec, arrays, "", None)
    return compute(spec, None, params, x, state, extras, return_all_layers, last_only, training, "auto")


def step(
    spec: Any, arrays: Any, x: Tensor, state: Any = None, context: Any = None, masks: Any = None, training: bool = False
) -> Any:
    """Run a network on one frame x (B, C, *S): the output (B, H, *S) and the new state.

    Args and errors as for ``run``; TypeError for a bidirectional network, which needs the whole
    sequence.
    """
    checked_flags(spec.title, False, True, training)
    dtype = ready_arrays(spec, arrays)
    state = ready_network((spec.title, spec, "BCS", None, dtype), x, state, None, context, masks)
    extras = cast_extras((None, context, masks), dtype, spec.ndim, False)
    params = loop.prepare(spec, arrays, "", None)
    return compute(spec, None, params, mops.expand_dims(x, 0), state, extras, False, True, training, "auto")


def compute(
    spec: Any,
    layers: Any,
    params: Any,
    x: Tensor,
    state: Any,
    extras: Any,
    every: bool,
    last: bool,
    training: bool,
    impl: str,
) -> Any:
    """``run`` without its checks, from a complete state.

    Through the cells ``layers``, or if that is None on the prepared ``params``.
    """
    if training and extras[2] is None:
        extras = (extras[0], extras[1], draw(spec, x.shape[0], x.shape[1], x.shape[3:], x.dtype, None))
    outputs, state = loop.run(spec, layers, params, x, state, extras, every, last, impl)
    if not last:
        return (tuple(outputs) if every else outputs), state
    copies = []
    for each in outputs if every else (outputs,):
        copies.append(mops.deepcopy(each))  # who writes into the last output must not change the state
    return (tuple(copies) if every else copies[0]), state


def forecast(
    spec: Any,
    arrays: Any,
    x: Tensor,
    steps: int,
    state: Any = None,
    targets: Any = None,
    forced: Any = None,
    teacher_forcing: Any = None,
    training: bool = False,
    resume: bool = False,
) -> Any:
    """Run a forecaster: frames x (T, B, C, *S) in, the ``steps`` frames that follow out.

    Args:
        spec (ForecasterSpec): The forecaster.
        arrays (dict): The parameters by canonical name, tensors of one dtype.
        x (Tensor): The frames, of the parameters' dtype.
        steps (int): How many frames to forecast.
        state, targets, forced, resume: As in the call of ``convgru.mindspore.Forecaster``.
        teacher_forcing (Union[float, Tensor]): Where ``training``, the probability of reading a
            target. Default: ``None``, never.
        training (bool): Whether to draw masks and teacher forcing. Default: ``False``.

    Returns:
        The frames (steps, B, C, *S), and the state, after the last frame that it read, of the
        network that predicted last.

    Raises:
        ValueError: If a shape or a name does not fit ``spec``, or ``steps`` is not a positive
            integer.
        TypeError: If an argument is of the wrong kind or dtype.
    """
    checked_flags(spec.title, False, True, training)
    dtype = ready_arrays(spec, arrays)
    teacher_forcing = ready_chance(spec.title, teacher_forcing, targets, forced)
    call, drawn = (spec.title, spec, "TBCS", None, dtype), teacher_forcing is not None
    state = ready_forecast(call, x, steps, state, targets, forced, drawn, resume)
    encoder = (None, loop.prepare(spec.encoder, arrays, "encoder.", None))
    decoder = None
    if spec.decoder is not None:
        decoder = (None, loop.prepare(spec.decoder, arrays, "decoder.", None))
    readout = ops.prepare_readout(spec.ndim, arrays["readout.weight"], arrays["readout.bias"], None)
    teaching = (targets, forced, teacher_forcing)
    return forecasts.compute(spec, (encoder, decoder, readout), x, steps, state, teaching, training, resume, "auto")


def detach(state: Any) -> Any:
    """Cut a state from its past (``ops.stop_gradient``), for truncated backpropagation in time.

    Args:
        state: What a network, a forecaster or a cell returns: a tensor or tuples of them; or None.

    Returns:
        The same state; no gradient passes through it.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> net, state = ConvGRU(3, 8), None
        >>> for part in ms.ops.ones((100, 2, 3, 16, 16), ms.float32).split(10):
        ...     y, state = net(part, detach(state))
    """
    if not isinstance(state, (tuple, list)):
        return None if state is None else mops.stop_gradient(state)
    entries = []
    for entry in state:
        entries.append(_detach_entry(entry))
    return tuple(entries)


def _detach_entry(entry: Any) -> Any:
    """``detach`` for one entry of a state, h or (h, c)."""
    if not isinstance(entry, (tuple, list)):
        return mops.stop_gradient(entry)
    parts = []
    for part in entry:
        parts.append(mops.stop_gradient(part))
    return tuple(parts)
