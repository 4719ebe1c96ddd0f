"""Random numbers for dropout and zoneout: a module's stream, and the key a call takes from it."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru_jax import masks


def is_random(spec: Spec) -> bool:
    """Return True if a network of this spec draws masks in training."""
    networks: tuple[NetworkSpec | None, ...] = (
        (spec,) if isinstance(spec, NetworkSpec) else (spec.encoder, spec.decoder)
    )
    return any(network is not None and masks.random(network) for network in networks)


def own_stream(owner: str, spec: Spec, rngs: object) -> Any:
    """Fork the stream that a module keeps for its masks, as nnx.Dropout does.

    None if the module draws no masks or has no rngs.
    """
    if rngs is None or (isinstance(rngs, (nnx.Rngs, nnx.RngStream)) and not is_random(spec)):
        return nnx.data(None)
    if isinstance(rngs, nnx.Rngs):
        return rngs.dropout.fork()
    if isinstance(rngs, nnx.RngStream):
        return rngs.fork()
    raise TypeError(f"{owner} expected rngs to be an nnx.Rngs or an nnx.RngStream, got {type(rngs).__name__}")


def draw_key(owner: str, spec: Spec, rngs: object) -> jax.Array:
    """Take a key from an nnx.Rngs (stream ``dropout``) or nnx.RngStream; a key is returned as is.

    Raises ValueError for None: the module is in training mode and has nothing to draw masks from.
    """
    if rngs is None:
        what = "teacher forcing" if isinstance(spec, ForecasterSpec) and not is_random(spec) else "dropout"
        raise ValueError(
            f"{owner} expected rngs to draw {what} from, in the constructor, in the call or in convgru.build: "
            "it is in training mode (deterministic=False); call eval() for evaluation"
        )
    if isinstance(rngs, nnx.Rngs):
        rngs = rngs.dropout()
    elif isinstance(rngs, nnx.RngStream):
        rngs = rngs()
    key: Any = rngs
    return key  # type: ignore[no-any-return]
