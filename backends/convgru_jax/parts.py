"""Run a sequence in parts of some frames, each of which is computed again for its gradient.

Only the states between the parts and the outputs are kept (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

Run = Callable[[Any, Any], tuple[Any, Any]]
"""(carry, frames) to carry and outputs, as ``lax.scan`` over all of these frames."""


def run(part: Run, frames: int | None, carry: Any, xs: Any, *, reverse: bool = False) -> tuple[Any, Any]:
    """``part(carry, xs)``, computed in parts of so many frames: a scan of checkpointed scans.

    Args:
        part: what runs over some frames, in reading order; it has the direction of ``reverse``.
        frames: how many frames a part has, the last one perhaps fewer; None makes one of all.
        carry: the state before the first frame that is read.
        xs: a tree of arrays, time first.
        reverse: whether the last frame is read first.
    """
    time = jax.tree.leaves(xs)[0].shape[0]
    if frames is None or (isinstance(time, int) and time <= frames):
        return part(carry, xs)
    end = time // frames * frames
    whole = jax.tree.map(lambda a: a[:end].reshape(time // frames, frames, *a.shape[1:]), xs)
    rest = jax.tree.map(lambda a: a[end:], xs)
    some = not isinstance(time, int) or end < time
    last = None
    if some and reverse:
        carry, last = jax.checkpoint(part)(carry, rest)
    carry, outputs = lax.scan(jax.checkpoint(part, prevent_cse=False), carry, whole, reverse=reverse)
    if some and not reverse:
        carry, last = jax.checkpoint(part)(carry, rest)
    joined = jax.tree.map(lambda a: a.reshape(end, *a.shape[2:]), outputs)
    return carry, jax.tree.map(lambda *both: jnp.concatenate(both), joined, last) if some else joined
