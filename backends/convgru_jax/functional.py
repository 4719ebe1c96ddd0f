"""The public functions: init, apply, step and forecast, pure in a spec, a dict of parameters and
arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
from jax import numpy as jnp

from convgru.calls import Caller
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import nest_state, state_leaves, state_shapes
from convgru_jax import arguments, compiled, loop
from convgru_jax import masks as dropping
from convgru_jax.compiled import Options
from convgru_jax.parameters import initial_arrays

Params = dict[str, jax.Array]
"""Parameters by canonical name (``layers.0.fwd.weight_ih``), of the shapes that
convgru.parameter_shapes(spec) says.
"""
State = loop.State
"""One entry for each layer and direction, forward first: h (B, *S, H), or the pair (h, c) of an
LSTM.
"""


def init(spec: Spec, key: jax.Array, dtype: Any = jnp.float32) -> Params:
    """Make initial parameters of ``spec``, drawn with JAX's random numbers.

    Each gate by itself: weight_ih Glorot uniform (Glorot and Bengio 2010), weight_hh orthogonal
    (Saxe et al. 2013), biases zero but for the forget gate's, which is one (Jozefowicz et al.
    2015). For the same numbers in every framework see convgru.init.

    Raises WeightsError for a dtype that weights cannot have, convgru.UnsupportedError for float64
    while JAX has it off.

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
) -> tuple[Any, State]:
    """Run a network on a sequence: x (T, B, *S, C) to (output (T, B, *S, H), final state).

    The equations are those of convgru.equations: ConvGRU (Ballas et al. 2015, arXiv:1511.06432),
    ConvLSTM (Shi et al. 2015, arXiv:1506.04214), ConvRNN. ``spec`` is hashable: pass it as a static
    argument of jax.jit, or close over it.

    Args: spec: what convgru.network makes. params: by canonical name, as ``init`` makes them. x:
        the frames (T, B, *S, C). state: None for zeros, else one entry for each layer and direction
        (forward first): h (B, *S, H), or (h, c) for an LSTM. lengths: (B,), how many frames of each
        sample are valid; it may be traced. Past the end the output is zero, the final state is the
        one after the last valid frame, and nothing that stands in the padding matters, NaN
        included. context: for each layer and direction (B, *S, G·H) or (T, B, *S, G·H), added to
        the pre-activations of all gates. masks: those of dropout and zoneout, as ``draw_masks``
        makes them; ``key`` then draws nothing. key: given, this is training: the masks are drawn
        from it, as ``draw_masks`` would. None is evaluation: no dropout, and zoneout takes its
        mean. return_all_layers: a tuple of every layer's output instead of the top one's.
        last_only: the output of each sample's last valid frame alone, (B, *S, H); the top layer's
        others are not kept. method: ``fast`` has gradients of every order in reverse mode;
        ``plain`` is slower to differentiate and knows forward mode (jax.jvp) too.

    Raises: ValueError, TypeError: something is not what the network expects; the message names it.
        Of traced lengths the values are not looked at. convgru.UnsupportedError: float64 while JAX
        has it switched off.

    >>> y, state = convgru.jax.apply(spec, params, x)
    >>> loss = lambda params: (convgru.jax.apply(spec, params, x)[0] ** 2).mean()
    >>> gradients = jax.jit(jax.grad(loss))(params)
    """
    arguments.check_spec("apply", spec, NetworkSpec)
    caller = arguments.caller_of(spec, "TBSC" if time_major else "BTSC", method)
    options = Options(method, bool(return_all_layers), bool(last_only))
    return run(caller, params, x, state, (lengths, context, masks), key, options)


def run(
    caller: Caller, params: Any, x: Any, state: Any, extras: tuple[Any, Any, Any], key: Any, options: Options
) -> tuple[Any, State]:
    """Check a call of ``apply``, of whomever errors name, and run it; ``extras`` are lengths,
    context and masks.
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
    """Run a network on one frame: x (B, *S, C) to (output (B, *S, H), next state): ``apply``, frame
    by frame.

    Equations, arguments and errors as in ``apply``; masks are those of one frame. A network with a
    backward direction has no steps: ValueError.

    >>> state = None
    >>> for frame in x:
    ...     y, state = convgru.jax.step(spec, params, frame, state)
    """
    arguments.check_spec("step", spec, NetworkSpec)
    return run_step(arguments.caller_of(spec, "BSC", method), params, x, state, context, masks, key, method)


def run_step(
    caller: Caller, params: Any, x: Any, state: Any, context: Any, masks: Any, key: Any, method: str
) -> tuple[jax.Array, State]:
    """Check a call of ``step``, of whomever errors name, and run it."""
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
) -> tuple[jax.Array, State]:
    """Predict the ``steps`` frames that follow x (T, B, *S, C): (frames (steps, B, *S, C), last
    state).

    The forecaster feeds on its own predictions after the last given frame (equation:
    convgru.equations.readout), with ``feedback=False`` on zeros; a decoder, if there is one, goes
    on from the encoder's state. ``steps`` is static. The state returned is that of the network that
    made the last frame. ``resume``, which is static, goes on from there as if that call had been
    given more steps: x is then its last frame alone, (1, B, *S, C) (the true one where that was
    forced), and the encoder reads nothing; with a ``key`` recurrent dropout draws its masks afresh.

    Teacher forcing (Williams and Zipser 1989): with ``targets`` (steps, B, *S, C), the frames that
    came true, the next step reads them instead of the prediction where ``forced`` (steps, B) is
    true, or, drawn from ``key``, with the probability ``teacher_forcing``, which may be traced. A
    ``key`` means training, as in ``apply``. State, method and errors as there; ValueError too for
    ``resume`` without a state, or from other than one frame.

    >>> spec = convgru.forecaster("gru", channels=1, hidden_channels=16, patch=4)
    >>> params = convgru.jax.init(spec, jax.random.key(0))
    >>> frames, state = convgru.jax.forecast(spec, params, x, steps=6)
    >>> more, state = convgru.jax.forecast(spec, params, frames[-1:], 6, state, resume=True)
    """
    arguments.check_spec("forecast", spec, ForecasterSpec)
    caller = arguments.caller_of(spec, "TBSC" if time_major else "BTSC", method)
    teaching = (targets, forced, teacher_forcing)
    return run_forecast(caller, params, x, steps, state, teaching, key, Options(method, resume=resume))


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
    """Check a call of ``forecast``, of whomever errors name, and run it; ``teaching``: targets,
    forced, probability.
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
    """The masks that ``apply`` draws in training from this key for an input (time, batch, *size,
    C).

    Names and meaning are those of convgru.spec.shapes.mask_shapes, channels last: inverted dropout
    between layers (Srivastava et al. 2014), one mask of recurrent dropout for all frames (Gal and
    Ghahramani 2016), zoneout (Krueger et al. 2017).

    >>> spec = convgru.network("gru", 3, [8, 8], dropout=0.2)
    >>> masks = convgru.jax.draw_masks(spec, jax.random.key(0), 10, 4, (64, 64))
    """
    arguments.check_spec("draw_masks", spec, NetworkSpec)
    return dropping.draw(spec, key, time, batch, tuple(size), dtype)


def detach(state: Any) -> Any:
    """The state without its past: no gradient passes (lax.stop_gradient). For truncated
    backpropagation through time.

    >>> y, state = convgru.jax.apply(spec, params, chunk, convgru.jax.detach(state))
    """
    return jax.tree.map(jax.lax.stop_gradient, state)


def zero_state(spec: Spec, batch: int, size: Sequence[int], dtype: Any = jnp.float32) -> State:
    """Make the state before the first frame of ``batch`` samples of spatial ``size``: what
    ``state=None`` stands for.

    Raises ValueError for a size that the network cannot take.

    >>> state = convgru.jax.zero_state(spec, 2, (64, 64))
    """
    arguments.check_spec("zero_state", spec, NetworkSpec, ForecasterSpec)
    shapes = dict(state_leaves(spec, state_shapes(spec, batch, tuple(size))))
    channels_last = dropping.channels_last
    leaves = {name: jnp.zeros(channels_last(shape, spec.ndim), dtype) for name, shape in shapes.items()}
    return nest_state(spec, leaves)
