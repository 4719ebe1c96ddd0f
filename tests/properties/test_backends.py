"""Random networks on every installed backend: exact round trips, ``test_core``'s properties.

JAX and Flax compile each network for each shape of a call: there the networks are few and their
shapes fixed, while numbers, state, lengths, order and the place of a split are new in each example.
MindSpore takes a second for a call, op by op: there examples are few.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runners import COMPILING, INSTALLED, run
from strategies import EXAMPLES, WHOLE, Call, calls, networks, pool, specs
from support import assert_close, random_weights

import convgru
from convgru.calls import Extras
from convgru.parity.budget import budget
from convgru.parity.cases import Problem
from convgru.spec.shapes import layer_sizes, nest_state, state_leaves

TIME = 3
NETWORKS = 2
"""How many networks of each cell, where they are compiled."""
FEW = settings(EXAMPLES, max_examples=10)
ONE_WAY = {"bidirectional": (None,)}
TORUS = {**WHOLE, "padding_mode": "circular", "stride": 1}


def calls_for(name, size=5, lengths=False, **fixed):
    """Calls of random networks; of few networks, half with a context, where they are compiled."""
    if name not in COMPILING:
        return calls(networks(**fixed), lengths=lengths, time=TIME).filter(rounds_as_told)
    found = pool(networks(**fixed), NETWORKS)
    each = [
        calls(st.just(spec), size, lengths, context=index % 2 == 0, time=TIME, batch=2)
        for index, spec in enumerate(found)
    ]
    return st.one_of(each).filter(rounds_as_told)


def examples(name):
    return FEW if name == "mindspore" else EXAMPLES


def rounds_as_told(call):
    """Whether rounding follows the budget: not where a norm sees a single pixel.

    Of a group of one number the reference makes a constant, where a framework's formula rounds.
    """
    sizes = layer_sizes(call.spec, call.x.shape[3:])
    return all(layer.norm is None or np.prod(size) > 1 for layer, size in zip(call.spec.layers, sizes, strict=True))


def allowed(call, y, end):
    return budget(Problem(call.weights, call.x, call.state, (y, end), Extras(**call.options))).forward


def agree(call: Call, got, want, bound):
    """Outputs and states within the bound."""
    assert_close(got[0], want[0], budget=bound, what="output")
    states = (dict(state_leaves(call.spec, state)) for state in (got[1], want[1]))
    assert_close(*states, budget=bound, what="state")


@pytest.mark.parametrize("name", INSTALLED)
def test_a_port_gives_back_every_byte(name):
    @given(spec=specs, seed=st.integers(0, 99), dtype=st.sampled_from(["float32", "float64"]))
    @EXAMPLES
    def check(spec, seed, dtype):
        weights = random_weights(spec, seed, dtype)
        assert convgru.extract(convgru.build(weights, name)).equal(weights)

    check()


@pytest.mark.parametrize("name", INSTALLED)
def test_padding_and_the_order_of_the_batch_change_nothing(name):
    """Samples of different lengths give the reference's numbers, in any order in the batch."""

    @given(call=calls_for(name, lengths=True), seed=st.integers(0, 99))
    @examples(name)
    def check(call, seed):
        want = call.run()
        bound = allowed(call, *want)
        agree(call, run(name, call.weights, call.x, call.state, **call.options), want, bound)
        order = np.random.default_rng(seed).permutation(call.x.shape[1])
        options = {"lengths": call.options["lengths"][order]}
        if "context" in call.options:
            options["context"] = [array[:, order] for array in call.options["context"]]
        got = run(name, call.weights, call.x[:, order], call.pick(call.state, order), **options)
        agree(call, got, (want[0][:, order], call.pick(want[1], order)), bound)

    check()


@pytest.mark.parametrize("name", INSTALLED)
def test_splitting_time_changes_nothing(name):
    @given(call=calls_for(name, **ONE_WAY), at=st.integers(1, TIME - 1))
    @examples(name)
    def check(call, at):
        want = call.run()
        bound, state, parts = allowed(call, *want), call.state, []
        for part in (slice(0, at), slice(at, None)):
            context = {key: [a[part] for a in arrays] for key, arrays in call.options.items()}
            y, state = run(name, call.weights, call.x[part], state, **context)
            parts.append(y)
        agree(call, (np.concatenate(parts), state), want, bound)

    check()


@pytest.mark.parametrize("name", INSTALLED)
def test_on_a_torus_translation_of_the_image_translates_the_output(name):
    @given(call=calls_for(name, **TORUS), shifts=st.tuples(*[st.integers(-2, 2)] * 3))
    @examples(name)
    def check(call, shifts):
        if call.spec.layers[0].state_size is not None:
            return  # its peephole belongs to places

        def roll(array, first=3):
            return np.roll(array, shifts[: call.spec.ndim], tuple(range(first, array.ndim)))

        want = call.run()
        options = {key: [roll(array) for array in arrays] for key, arrays in call.options.items()}
        state = nest_state(call.spec, {leaf: roll(array, 2) for leaf, array in state_leaves(call.spec, call.state)})
        end = nest_state(call.spec, {leaf: roll(array, 2) for leaf, array in state_leaves(call.spec, want[1])})
        got = run(name, call.weights, roll(call.x), state, **options)
        agree(call, got, (roll(want[0]), end), allowed(call, *want))

    check()
