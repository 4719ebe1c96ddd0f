"""Cases of the table, and the concrete problems made from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np

from convgru.calls import Extras
from convgru.initialization import init
from convgru.reference.network import called
from convgru.spec import ForecasterSpec, Spec
from convgru.spec.shapes import context_shapes, mask_shapes, nest_state, state_leaves, state_shapes
from convgru.weights import Weights, dtype_of

FRAMES = (3, 2)
"""Time and batch of a problem of given weights."""


@dataclass(frozen=True)
class Case:
    """One network and the call that is made of it.

    Attributes:
        name: unique in the table.
        spec: the network.
        size: spatial size of the input.
        time: number of frames.
        batch: number of samples.
        state: whether an initial state is passed; without one the network starts from zeros.
        scale: factor on the initial weights; trained weights are larger and conditioned worse.
        steps: a forecaster's horizon.
        lengths: valid frames of each sample; the padding is NaN.
        context: "fixed" or "timed", an array for all frames or for each.
        train: whether masks of dropout and zoneout are passed.
        forced: whether half of a forecaster's steps read the target (teacher forcing).
        resume: whether a forecaster continues from a given state.
    """

    name: str
    spec: Spec
    size: tuple[int, ...]
    time: int = 3
    batch: int = 2
    state: bool = True
    scale: float = 1.0
    steps: int | None = None
    lengths: tuple[int, ...] | None = None
    context: str | None = None
    train: bool = False
    forced: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Problem:
    """A network and one call of it, all numbers rounded to a dtype.

    Attributes:
        weights: the network.
        x: input (T, B, C, *S).
        state: initial state, or None for zeros.
        cotangents: weights of output and final state in the sum whose gradients are taken.
        extras: the optional arguments of the call.
    """

    weights: Weights
    x: np.ndarray
    state: tuple[Any, ...] | None
    cotangents: tuple[np.ndarray, tuple[Any, ...]]
    extras: Extras = Extras()  # noqa: RUF009 - frozen


def problem(case: Case, dtype: str) -> Problem:
    """Problem of a case: weights from ``init`` with non-zero biases, everything else N(0, 1)."""
    seed = crc32(case.name.encode())
    made = make_problem(
        noisy(init(case.spec, seed, "float64"), seed, case.scale),
        case.size,
        dtype,
        time=case.time,
        batch=case.batch,
        steps=case.steps,
        state=case.state,
        seed=seed,
    )
    extras = _extras(case, seed, dtype_of(dtype))
    x = made.x
    if case.lengths is not None:
        past = np.arange(case.time)[:, None] >= np.asarray(case.lengths)
        x = np.where(past.reshape(*past.shape, *(1,) * (x.ndim - 2)), np.nan, x).astype(x.dtype)
    return replace(made, x=x, extras=extras)


def _extras(case: Case, seed: int, dtype: np.dtype[Any]) -> Extras:
    """Dropout masks (0 or 1.5, like 1/(1−p)), zoneout masks, contexts, targets of a case."""
    rng, spec = np.random.default_rng([seed, 3]), case.spec
    if isinstance(spec, ForecasterSpec):
        if not case.forced or case.steps is None:
            return Extras(resume=case.resume)
        targets = rng.standard_normal((case.steps, case.batch, spec.channels, *case.size)).astype(dtype)
        forced = (np.indices((case.steps, case.batch)).sum(0) % 2).astype(bool)
        return Extras(targets=targets, forced=forced, resume=case.resume)
    context = masks = None
    if case.context is not None:
        lead = (case.time,) if case.context == "timed" else ()
        shapes = context_shapes(spec, case.batch, case.size)
        context = [rng.standard_normal((*lead, *shape)).astype(dtype) for shape in shapes]
    if case.train:
        masks = {}
        for name, shape in mask_shapes(spec, case.time, case.batch, case.size).items():
            kept = (rng.random(shape) < 0.7).astype(dtype)
            masks[name] = kept if name.startswith("zoneout") else (kept * dtype.type(1.5)).astype(dtype)
    return Extras(None if case.lengths is None else np.asarray(case.lengths), context, masks)


def noisy(weights: Weights, seed: int, scale: float = 1.0) -> Weights:
    """Scale the weights and add N(0, 0.25) to what starts as a constant.

    A bias of zero would hide whether it is read.
    """
    rng = np.random.default_rng([seed, 1])
    constant = ("bias", "peephole", "norm")
    arrays = {
        name: array + 0.5 * rng.standard_normal(array.shape) if any(c in name for c in constant) else scale * array
        for name, array in weights.arrays.items()
    }
    return Weights(weights.spec, arrays)


def make_problem(
    weights: Weights,
    size: tuple[int, ...],
    dtype: str,
    *,
    time: int = FRAMES[0],
    batch: int = FRAMES[1],
    steps: int | None = None,
    state: bool = True,
    seed: int = 0,
    x: np.ndarray | None = None,
) -> Problem:
    """Problem of given weights: input, state and cotangents N(0, 1), rounded to ``dtype``."""
    spec, rng, target = weights.spec, np.random.default_rng([seed, 2]), dtype_of(dtype)
    if x is None:
        x = rng.standard_normal((time, batch, spec.in_channels, *size))
    time, batch, size, _ = called(spec, x)[1]
    if not np.isfinite(x).all():
        raise ValueError(f"{spec.title}: a comparison needs finite numbers, the input holds others")
    shapes = state_shapes(spec, batch, size)

    def draw(wanted: Any) -> tuple[Any, ...]:
        leaves = {name: rng.standard_normal(shape).astype(target) for name, shape in state_leaves(spec, wanted)}
        return nest_state(spec, leaves)

    initial, final = draw(shapes), draw(shapes)
    if steps is not None:
        output = (steps, batch, spec.in_channels, *size)
    else:
        top = shapes[-1][0] if len(spec.recurrent.layers[0].state_names) > 1 else shapes[-1]
        output = (time, top[0], spec.recurrent.out_channels, *top[2:])
    cotangent = rng.standard_normal(output).astype(target)
    return Problem(weights.astype(target), x.astype(target), initial if state else None, (cotangent, final))
