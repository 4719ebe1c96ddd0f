"""ConvGRU, ConvLSTM and ConvRNN for JAX: pure functions of a spec and a dict of parameters."""

from __future__ import annotations

from convgru.registry import explain

try:
    from convgru_jax.functional import Params, State, apply, detach, draw_masks, forecast, init, step, zero_state
except ModuleNotFoundError as error:
    raise explain("jax", error) from error

__all__ = ["Params", "State", "apply", "detach", "draw_masks", "forecast", "init", "step", "zero_state"]
