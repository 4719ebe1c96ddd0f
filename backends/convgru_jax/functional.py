"""The public functions init, apply, step and forecast: pure in spec, parameters and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
from jax import numpy as jnp

from convgru.calls import Caller, flags
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import nest_state, state_leaves, zero_state_shapes
from convgru_jax import arguments, checks, compiled, loop
from convgru_jax import masks as dropping
from convgru_jax.compiled import Options
from convgru_jax.parameters import initial_arrays

Params = dict[str, jax.Array]
"""Parameters by canonical name (``layers.0.fwd.weight_ih``); shapes: convgru.parameter_shapes."""
State = loop.State
"""One entry for each layer and direction, forward first: h (B, *S, H), or (h, c) of an LSTM."""


def init(spec: Spec, key: jax.Array, dtype: Any = jnp.float32) -> Params:
    """Make initial parameters of ``spec``, drawn with JAX's random numbers.

    Each gate and group by itself: weight_ih and a readout Glorot uniform (Glorot and Bengio 2010),
    weight_hh orthogonal (Saxe et al. 2013), biases zero but for a forget gate's one (Jozefowicz et
    al. 2015). ``convgru.init`` draws the same numbers for every framework, distributed so.

    Args:
        spec: a network or a forecaster.
        key: of jax.random.
        dtype: float32, float16, bfloat16, or float64 if JAX has it switched on.

    Raises:
        convgru.WeightsError: a dtype that weights cannot have.
        convgru.UnsupportedError: float64 while JAX has it switched off.

    >>> spec = convgru.network("gru", 3, 8)
    >>> params = convgru.jax.init(spec, jax.random.key(0))
    """
    arguments.check_spec("init", spec, NetworkSpec, ForecasterSpec)
    return initial_arrays(spec, key, dtype)


def apply(
    spec: NetworkSpec,
    params: Mapping[str, jax.Array],
    x: jax.Array,
    state: Any = None,
    *,
    lengths: Any = None,
    context: Any = None,
    masks: Mapping[str, jax.Array] | None = None,
    key: jax.Array | None = None,
    return_all_layers: bool = False,
    last_only: bool = False,
    time_major: bool = True,
    method: str = "fast",
    checkpoint_frames: int | None = None,
) -> tuple[Any, State]:
    """Run a network on a sequence x (T, B, *S, C): output (T, B, *S, H) and final state.

    The equations are those of convgru.equations: ConvGRU (Ballas et al. 2015, arXiv:1511.06432),
    ConvLSTM (Shi et al. 2015, arXiv:1506.04214), ConvRNN. ``spec`` is hashable: pass it as a static
    argument of jax.jit, or close over it.

    Args:
        spec: the network, as ``convgru.network`` makes it.
        params: by canonical name, as ``init`` makes them.
        x: the frames (T, B, *S, C).
        state: the initial state, None for zeros; else one entry for each layer and direction
            (forward first): h (B, *S, H), or (h, c) for an LSTM.
        lengths: (B,), the number of valid frames of each sample; it may be traced. Past the end the
            output is zero, the final state is the one after the last valid frame, and nothing that
            stands in the padding matters, NaN included.
        context: for each layer and direction (B, *S, G·H) or (T, B, *S, G·H), added to the
            pre-activations of all gates.
        masks: of dropout and zoneout by name, as ``draw_masks`` makes them, instead of ``key``.
        key: if given, the network trains, with masks that ``draw_masks`` draws from it: a new key
            for every call. None is evaluation: no dropout, and zoneout takes its mean.
        return_all_layers: return a tuple of every layer's output instead of the top layer's.
        last_only: return the output of each sample's last valid frame alone, (B, *S, H); the top
            layer's others are not kept.
        time_major: if False, x, output and a context with time are (B, T, …). Masks have their time
            first always.
        method: ``fast`` differentiates the convolution by rules of its own, ``plain`` by JAX's,
            which are many times slower on CPU; both in forward and reverse mode, in any order.
        checkpoint_frames: run the sequence in parts of so many frames and, for the gradient, each
            part again: only the states between them and the outputs are kept. None: all at once.

    Raises:
        ValueError: an argument of a wrong size; the message names it, what was expected and what
            came. Traced lengths are not checked: they are clipped to 0 … T.
        TypeError: an argument of a wrong kind or dtype.
        convgru.UnsupportedError: float64 while JAX has it switched off.

    >>> y, state = convgru.jax.apply(spec, params, x)
    >>> loss = lambda params: (convgru.jax.apply(spec, params, x)[0] ** 2).mean()
    >>> gradients = jax.jit(jax.grad(loss))(params)
    """
    arguments.check_spec("apply", spec, NetworkSpec)
    every, last, _ = flags(spec.title, return_all_layers=return_all_layers, last_only=last_only, time_major=time_major)
    caller = arguments.caller_of(spec, "TBSC" if time_major else "BTSC", method)
    frames = arguments.checkpoint_frames(caller.name, checkpoint_frames)
    options = Options(method, every, last, checkpoint_frames=frames)
    return run(caller, params, x, state, (lengths, context, masks), key, options)


def run(
    caller: Caller, params: Any, x: Any, state: Any, extras: tuple[Any, Any, Any], key: Any, options: Options
) -> tuple[Any, State]:
    """``apply`` for other callers (Flax): ``caller`` has the name that errors show.

    ``extras`` are lengths, context and masks.
    """
    arrays, x, state, sizes = arguments.inputs(caller, params, x, state)
    others = arguments.extras(caller, sizes, *extras)
    arguments.check_key(caller, key)
    output, final = compiled.run(caller.spec, arrays, x, state, others, key, options)
    if not options.last_only:
        output = jax.tree.map(partial(arguments.time_first, caller), output)
    return output, final


def step(
    spec: NetworkSpec,
    params: Mapping[str, jax.Array],
    x: jax.Array,
    state: Any = None,
    *,
    context: Any = None,
    masks: Mapping[str, jax.Array] | None = None,
    key: jax.Array | None = None,
    method: str = "fast",
) -> tuple[jax.Array, State]:
    """Run a network on one frame x (B, *S, C): output (B, *S, H) and next state.

    Called frame by frame it gives the outputs of ``apply``.

    Args:
        spec: the network, without a backward direction.
        params: by canonical name.
        x: the frame (B, *S, C).
        state: the state that the step before returned, None for zeros.
        context: for each layer (B, *S, G·H), added to the pre-activations of all gates.
        masks: those of one frame, with their axis of time.
        key: if given, the network trains, with masks of its own for this frame.
        method: as in ``apply``.

    Raises:
        ValueError, convgru.UnsupportedError: as in ``apply``.
        TypeError: as in ``apply``, and for a network with a backward direction, which needs the
            whole sequence.

    >>> state = None
    >>> for frame in x:
    ...     y, state = convgru.jax.step(spec, params, frame, state)
    """
    arguments.check_spec("step", spec, NetworkSpec)
    return run_step(arguments.caller_of(spec, "BSC", method), params, x, state, context, masks, key, method)


def run_step(
    caller: Caller, params: Any, x: Any, state: Any, context: Any, masks: Any, key: Any, method: str
) -> tuple[jax.Array, State]:
    """``step`` for other callers (Flax): ``caller`` has the name that errors show."""
    arrays, x, state, sizes = arguments.inputs(caller, params, x, state)
    extras = arguments.extras(caller, sizes, None, context, masks)
    arguments.check_key(caller, key)
    result: tuple[jax.Array, State] = compiled.step(caller.spec, arrays, x, state, extras, key, Options(method))
    return result


def forecast(
    spec: ForecasterSpec,
    params: Mapping[str, jax.Array],
    x: jax.Array,
    steps: int,
    state: Any = None,
    *,
    targets: Any = None,
    forced: Any = None,
    teacher_forcing: Any = None,
    resume: bool = False,
    key: jax.Array | None = None,
    time_major: bool = True,
    method: str = "fast",
    checkpoint_frames: int | None = None,
) -> tuple[jax.Array, State]:
    """Predict the ``steps`` frames that follow x (T, B, *S, C): (steps, B, *S, C) and last state.

    Then the forecaster reads its own predictions (``convgru.equations.readout``), or zeros with
    ``feedback=False``; a decoder, if there is one, goes on from the encoder's state. Teacher
    forcing (Williams and Zipser 1989) lets it read the true frames instead.

    Args:
        spec: the forecaster, as ``convgru.forecaster`` makes it.
        params: by canonical name, as ``init`` makes them.
        x: the frames that are given (T, B, *S, C).
        steps: how many frames to predict; static.
        state: the encoder's initial state, None for zeros; with ``resume`` the state that the
            earlier call returned.
        targets: the true frames (steps, B, *S, C), for teacher forcing.
        forced: booleans (steps, B); where true, the next step reads the target.
        teacher_forcing: instead of ``forced``, its probability, drawn from ``key``, perhaps traced.
        resume: go on as if the earlier call had been given more steps; static. x is then its last
            frame alone, (1, B, *S, C), the true one where that was forced, and the encoder reads
            nothing; recurrent dropout draws afresh.
        key: if given, the forecaster trains, as in ``apply``.
        time_major: if False, x, targets, forced and the frames returned are (B, T, …).
        method, checkpoint_frames: as in ``apply``; the predictions are made in parts too.

    Returns:
        The frames, and the state of the network that made the last of them.

    Raises:
        ValueError: as in ``apply``; for ``resume`` without a state, or from other than one frame.
        TypeError: as in ``apply``; for targets without ``forced`` or ``teacher_forcing``, and the
            reverse.
        convgru.UnsupportedError: float64 while JAX has it switched off.

    >>> spec = convgru.forecaster("gru", channels=1, hidden_channels=16, patch=4)
    >>> params = convgru.jax.init(spec, jax.random.key(0))
    >>> frames, state = convgru.jax.forecast(spec, params, x, steps=6)
    >>> more, state = convgru.jax.forecast(spec, params, frames[-1:], 6, state, resume=True)
    """
    arguments.check_spec("forecast", spec, ForecasterSpec)
    flags(spec.title, time_major=time_major)
    caller = arguments.caller_of(spec, "TBSC" if time_major else "BTSC", method)
    frames = arguments.checkpoint_frames(caller.name, checkpoint_frames)
    options = Options(method, resume=resume, checkpoint_frames=frames)
    return run_forecast(caller, params, x, steps, state, (targets, forced, teacher_forcing), key, options)


def run_forecast(
    caller: Caller,
    params: Any,
    x: Any,
    steps: int,
    state: Any,
    teaching: tuple[Any, Any, Any],
    key: Any,
    options: Options,
) -> tuple[jax.Array, State]:
    """``forecast`` for other callers (Flax): ``caller`` has the name that errors show.

    ``teaching`` are targets, forced and the probability of teacher forcing.
    """
    caller.steps(steps)
    arrays, x, state, sizes = arguments.inputs(caller, params, x, state)
    caller.resume(options.resume, state, sizes)
    arguments.check_key(caller, key)
    checked = arguments.teacher_forcing(caller, sizes, steps, *teaching, key)
    frames, final = compiled.forecast(caller.spec, arrays, x, steps, state, checked, key, options)
    return arguments.time_first(caller, frames), final


def draw_masks(
    spec: NetworkSpec, key: jax.Array, time: int, batch: int, size: tuple[int, ...], dtype: Any = jnp.float32
) -> dict[str, jax.Array]:
    """Draw the masks that ``apply`` draws from ``key`` for x (time, batch, *size, C) in training.

    Names are those of ``convgru.spec.shapes.mask_shapes``, arrays channels last:

    - ``dropout.{layer}`` (T, B, *S, C): inverted dropout between layers (Srivastava et al. 2014), 0
      or 1 / (1 − p); with ``bidirectional="stack"`` one for each direction, ``dropout.{layer}.fwd``
      and ``.bwd``.
    - ``recurrent.{entry}`` (B, *S, H): the same on h where it enters its convolution, in all frames
      (Gal and Ghahramani 2016).
    - ``zoneout.{entry}.h`` and ``.c`` (T, B, *S, H): 1 keeps the old number (Krueger et al. 2017).

    >>> spec = convgru.network("gru", 3, [8, 8], dropout=0.2)
    >>> masks = convgru.jax.draw_masks(spec, jax.random.key(0), 10, 4, (64, 64))
    """
    arguments.check_spec("draw_masks", spec, NetworkSpec)
    return dropping.draw(spec, key, time, batch, tuple(size), dtype)


def detach(state: Any) -> Any:
    """Stop gradients through a state (lax.stop_gradient), for truncated backpropagation.

    >>> y, state = convgru.jax.apply(spec, params, chunk, convgru.jax.detach(state))
    """
    return jax.tree.map(jax.lax.stop_gradient, state)


def zero_state(spec: Spec, batch: int, size: Sequence[int], dtype: Any = jnp.float32) -> State:
    """Make the state that None stands for; raise ValueError for a size the network cannot take.

    >>> state = convgru.jax.zero_state(spec, 2, (64, 64))
    """
    arguments.check_spec("zero_state", spec, NetworkSpec, ForecasterSpec)
    shapes = dict(state_leaves(spec, zero_state_shapes(spec.title, spec, batch, size)))
    dtype = checks.computed_dtype(spec.title, dtype)
    leaves = {name: jnp.zeros(dropping.channels_last(shape, spec.ndim), dtype) for name, shape in shapes.items()}
    return nest_state(spec, leaves)
