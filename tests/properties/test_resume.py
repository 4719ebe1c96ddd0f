"""A forecaster resumed from an earlier call's state gives what one long call gives, everywhere.

In the reference and in every backend.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from support import assert_close, random_weights

import convgru
from convgru import reference, registry
from convgru.calls import Extras
from convgru.parity.budget import budget
from convgru.parity.cases import Problem
from convgru.spec.shapes import nest_state, state_leaves, state_shapes

INSTALLED = [name for name, found in registry.available().items() if not isinstance(found, str)]
FIRST, MORE = 2, 3


def call_of(cell, decoder, feedback, residual, dtype="float64"):
    """Weights, three frames, a state, the frames that came true and where they are read."""
    options = {"hidden_channels": [3, 2], "patch": 2, "decoder": decoder, "feedback": feedback, "residual": residual}
    weights = random_weights(convgru.forecaster(cell, 1, **options), 7, dtype)
    rng = np.random.default_rng(0)

    def numbers(shape):
        return rng.standard_normal(shape).astype(dtype)

    shapes = state_leaves(weights.spec, state_shapes(weights.spec, 2, (4, 2)))
    state = nest_state(weights.spec, {name: numbers(shape) for name, shape in shapes})
    targets = numbers((FIRST + MORE, 2, 1, 4, 2))
    return weights, numbers((3, 2, 1, 4, 2)), state, targets, rng.random((FIRST + MORE, 2)) < 0.5


def split(run, x, state, targets, forced):
    """(frames, state) of a call of FIRST steps and of one that resumes for MORE, as one."""
    head, middle = run(x, FIRST, state, Extras(targets=targets[:FIRST], forced=forced[:FIRST]))
    last = np.where(forced[FIRST - 1][:, None, None, None], targets[FIRST - 1], head[-1])[None]
    given = Extras(targets=targets[FIRST:], forced=forced[FIRST:], resume=True)
    tail, end = run(last, MORE, middle, given)
    return np.concatenate([head, tail]), end


@pytest.mark.parametrize(("decoder", "feedback", "residual"), list(product([False, True], repeat=3)))
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_reference_resumes_exactly(cell, decoder, feedback, residual):
    weights, x, state, targets, forced = call_of(cell, decoder, feedback, residual)

    def run(x, steps, state, given):
        options = {"targets": given.targets, "forced": given.forced, "resume": given.resume}
        return reference.run(weights, x, state, steps=steps, **options)

    whole, end = run(x, FIRST + MORE, state, Extras(targets=targets, forced=forced))
    frames, last = split(run, x, state, targets, forced)
    np.testing.assert_array_equal(frames, whole)
    for (_, a), (_, b) in zip(state_leaves(weights.spec, last), state_leaves(weights.spec, end), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("cell", "decoder", "feedback", "residual"), [("lstm", True, True, True), ("gru", False, False, False)]
)
@pytest.mark.parametrize("name", INSTALLED)
def test_a_backend_resumes_within_the_budget(name, cell, decoder, feedback, residual):
    """With all there is, and with none of it."""
    weights, x, state, targets, forced = call_of(cell, decoder, feedback, residual, "float32")

    def run(x, steps, state, given):
        y, final, _ = registry.get(name).execute(weights, x, state, steps=steps, extras=given)
        return y, final

    given = Extras(targets=targets, forced=forced)
    whole, end = run(x, FIRST + MORE, state, given)
    frames, last = split(run, x, state, targets, forced)
    allowed = budget(Problem(weights, x, state, (whole, end), given), FIRST + MORE).forward
    assert_close(frames, whole, budget=allowed, what="output")
    states = (dict(state_leaves(weights.spec, state)) for state in (last, end))
    assert_close(*states, budget=allowed, what="state")


@pytest.mark.parametrize(
    ("frames", "state", "message"),
    [(2, True, "expected one frame to resume from .*got 2"), (1, False, "expected a state to resume from")],
)
@pytest.mark.parametrize("name", ["reference", *INSTALLED])
def test_what_cannot_be_resumed_says_so(name, frames, state, message):
    weights, x, given, *_ = call_of("gru", True, True, True)
    given = given if state else None

    def run():
        if name == "reference":
            return reference.run(weights, x[:frames], given, steps=2, resume=True)
        return registry.get(name).execute(weights, x[:frames], given, steps=2, extras=Extras(resume=True))

    with pytest.raises(ValueError, match=message):
        run()


def test_resume_is_a_bool_and_for_forecasters():
    forecaster = random_weights(convgru.forecaster("gru", 1, 2), 0)
    with pytest.raises(TypeError, match="Forecaster expected resume to be True or False, got 'yes'"):
        reference.run(forecaster, np.ones((1, 1, 1, 4, 4)), steps=1, resume="yes")
    weights = random_weights(convgru.network("gru", 1, 2), 0)
    with pytest.raises(TypeError, match="ConvGRU expected no resume"):
        reference.run(weights, np.ones((1, 1, 1, 4, 4)), (np.ones((1, 2, 4, 4)),), resume=True)
