"""The public functions: init, apply, step and forecast, pure in a spec, a dict of parameters and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from jax import numpy as jnp

from convgru.shapes import check_input
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru_jax import core
from convgru_jax.init import initial_arrays

Params = dict[str, jax.Array]
"""Parameters by canonical name (``layers.0.fwd.weight_ih``), of the shapes that convgru.parameter_shapes(spec) says."""
State = core.State
"""One entry for each layer: h (B, *S, H), or the pair (h, c) of an LSTM."""


def init(spec: Spec, key: jax.Array, dtype: Any = jnp.float32) -> Params:
    """Make initial parameters of ``spec``, drawn with JAX's random numbers.

    Each gate by itself: weight_ih Glorot uniform (Glorot and Bengio 2010), weight_hh orthogonal (Saxe et al. 2013),
    biases zero but for the forget gate's, which is one (Jozefowicz et al. 2015). For the same numbers in every framework see
    convgru.init.

    Raises WeightsError for a dtype that weights cannot have, convgru.UnsupportedError for float64 while JAX has it off.

    >>> spec = convgru.network("gru", 3, 8)
    >>> params = convgru.jax.init(spec, jax.random.key(0))
    """
    _check_spec("init", spec, NetworkSpec, ForecasterSpec)
    return initial_arrays(spec, key, dtype)


def apply(
    spec: NetworkSpec, params: Mapping[str, jax.Array], x: jax.Array, state: Any = None, *, method: str = "fast"
) -> tuple[jax.Array, State]:
    """Run a network on a sequence: x (T, B, *S, C) to (output (T, B, *S, H), final state).

    The equations are those of convgru.equations: ConvGRU (Ballas et al. 2015, arXiv:1511.06432), ConvLSTM (Shi et al.
    2015, arXiv:1506.04214), ConvRNN. ``spec`` is hashable: pass it as a static argument of jax.jit, or close over it.
    ``state`` None means zeros, else one entry for each layer, h (B, *S, H) or (h, c). ``method`` ``fast`` has
    gradients of every order in reverse mode; ``plain`` is slower to differentiate and knows forward mode (jax.jvp) too.

    Raises ValueError or TypeError that names what was expected and what came, and convgru.UnsupportedError for float64
    while JAX has it switched off.

    >>> y, state = convgru.jax.apply(spec, params, x)
    >>> loss = lambda params: (convgru.jax.apply(spec, params, x)[0] ** 2).mean()
    >>> gradients = jax.jit(jax.grad(loss))(params)
    """
    _check_spec("apply", spec, NetworkSpec)
    return core.run(spec, params, x, state, method=method)


def step(
    spec: NetworkSpec, params: Mapping[str, jax.Array], x: jax.Array, state: Any = None, *, method: str = "fast"
) -> tuple[jax.Array, State]:
    """Run a network on one frame: x (B, *S, C) to (output (B, *S, H), next state): ``apply``, frame by frame.

    Equations, state, method and errors as in ``apply``.

    >>> state = None
    >>> for frame in x:
    ...     y, state = convgru.jax.step(spec, params, frame, state)
    """
    _check_spec("step", spec, NetworkSpec)
    return core.step(spec, params, x, state, method=method)


def forecast(
    spec: ForecasterSpec,
    params: Mapping[str, jax.Array],
    x: jax.Array,
    steps: int,
    state: Any = None,
    *,
    method: str = "fast",
) -> tuple[jax.Array, State]:
    """Predict the ``steps`` frames that follow x (T, B, *S, C): (frames (steps, B, *S, C), the encoder's last state).

    The forecaster feeds on its own predictions after the last given frame (equation: convgru.equations.readout);
    ``steps`` is static. State, method and errors as in ``apply``.

    >>> spec = convgru.forecaster("gru", channels=1, hidden_channels=16, patch=4)
    >>> frames, state = convgru.jax.forecast(spec, convgru.jax.init(spec, jax.random.key(0)), x, steps=6)
    """
    _check_spec("forecast", spec, ForecasterSpec)
    return core.forecast(spec, params, x, steps, state, method=method)


def zero_state(spec: Spec, input_shape: tuple[int, ...], dtype: Any = jnp.float32) -> State:
    """The state before the first frame, for frames of shape (B, *S, C): what ``state=None`` stands for.

    Raises ValueError for a shape that the network cannot take.

    >>> state = convgru.jax.zero_state(spec, (2, 64, 64, 3))
    """
    _check_spec("zero_state", spec, NetworkSpec, ForecasterSpec)
    batch, size = check_input(spec.title, spec.in_channels, spec.ndim, input_shape, "BSC")
    return core.zero_state(spec, batch, size, dtype)


def _check_spec(function: str, spec: object, *kinds: type) -> None:
    if not isinstance(spec, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        hint = {"apply": "; forecast runs a ForecasterSpec", "forecast": "; apply runs a NetworkSpec"}.get(function, "")
        raise TypeError(f"convgru.jax.{function} expected a {names}, got {type(spec).__name__}{hint}")
