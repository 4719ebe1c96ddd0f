"""Random small networks in every backend that is installed: byte for byte through it, and the reference's numbers from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import EXAMPLES, calls, specs, weights_of

import convgru
from convgru import registry
from convgru.budget import budget, error
from convgru.cases import Problem
from convgru.extras import Extras
from convgru.shapes import state_leaves

INSTALLED = [name for name, found in registry.available().items() if not isinstance(found, str)]
FEW = {"torch": 30, "jax": 8, "flax": 8, "mindspore": 8}
"""How many examples: each is another program for those that compile."""


def few(name):
    return settings(EXAMPLES, max_examples=FEW[name])


@pytest.mark.parametrize("name", INSTALLED)
def test_a_port_gives_back_every_byte(name):
    @given(spec=specs, seed=st.integers(0, 99), dtype=st.sampled_from(["float32", "float64"]))
    @few(name)
    def check(spec, seed, dtype):
        weights = weights_of(spec, seed, dtype)
        assert convgru.extract(convgru.build(weights, name)).equal(weights)

    check()


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
def test_a_backend_gives_the_references_numbers(name, lengths):
    backend = registry.get(name)

    @given(call=calls(lengths=lengths))
    @few(name)
    def check(call):
        y, end = call.run()
        problem = Problem(call.weights, call.x, call.state, (y, end), Extras(**call.options))
        with backend.precise():
            got, final, _ = backend.execute(call.weights, call.x, call.state, extras=problem.extras)
        allowed = budget(problem).forward
        assert error(got, y) <= allowed
        for (leaf, a), (_, b) in zip(state_leaves(call.spec, final), state_leaves(call.spec, end), strict=True):
            assert error(np.asarray(a), b) <= allowed, leaf

    check()
