"""Budgets of the comparison: what they grow with, and what a correct program stays within."""

import numpy as np
import pytest

from convgru import reference
from convgru.initialization import init
from convgru.parity import cases
from convgru.parity import table as case_table
from convgru.parity.budget import budget, error
from convgru.parity.cases import Case
from convgru.spec import network
from convgru.weights import Weights

FIRST = next(case for case in case_table.table() if case.name == "gru-before-2d")


def test_budgets_grow_with_the_weights():
    spec = network("gru", 4, 8, 3)
    problems = [cases.problem(Case("scaled", spec, (5, 5), time=4, scale=scale), "float32") for scale in (1, 2, 4)]
    budgets = [budget(problem, gradients=True) for problem in problems]
    sizes = [found.forward for found in budgets]
    assert sizes == sorted(sizes)
    assert sizes[0] >= 4 * 2.0**-23
    slopes = [found.gradients["state.0.h"] for found in budgets]
    assert slopes == sorted(slopes)


def test_half_precision_has_a_fixed_budget():
    for dtype, eps in (("float16", 2.0**-10), ("bfloat16", 2.0**-7)):
        allowed = budget(cases.problem(FIRST, dtype), gradients=True)
        assert allowed.forward == 4 * eps
        assert set(allowed.gradients.values()) == {16 * eps}


def test_tf32_widens_the_budget_of_float32_alone():
    for dtype, wider in (("float32", 2.0**13), ("float64", 1)):
        problem = cases.problem(FIRST, dtype)
        assert budget(problem, tf32=True).forward == pytest.approx(wider * budget(problem).forward)


def test_error_is_relative_to_the_largest_number():
    assert error(np.array([100.5]), np.array([100.0])) == 0.005
    assert error(np.array([0.5]), np.array([0.25])) == 0.25
    assert error(np.array([np.nan]), np.array([1.0])) == float("inf")
    with pytest.raises(ValueError, match="expected shape"):
        error(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize("channels", [64, 256])
def test_a_sum_that_rises_and_falls_keeps_within_budget(channels):
    """Half of the channels add up, the others take it away again, one after the other."""
    spec = network("rnn", channels, 1, 1, activation="relu")
    weights = init(spec, 0, "float32")
    rng = np.random.default_rng(0)
    signs = np.repeat([1.0, -1.0], channels // 2)
    kernel = (signs * (1 + 0.1 * rng.random(channels))).astype(np.float32)
    kernel[-1] -= kernel.astype(np.float64).sum()
    arrays = {name: np.zeros_like(array) for name, array in weights.arrays.items()}
    arrays["layers.0.fwd.weight_ih"] = kernel.reshape(arrays["layers.0.fwd.weight_ih"].shape)
    x = (1 + 0.01 * rng.standard_normal((1, 1, channels, 16, 16))).astype(np.float32)
    problem = cases.make_problem(Weights(spec, arrays), (16, 16), "float32", state=False, x=x)
    want = reference.run(problem.weights, problem.x)[0]
    terms = problem.x * kernel.reshape(-1, 1, 1)
    got = np.maximum(np.cumsum(terms, axis=2, dtype=np.float32)[:, :, -1:], 0)
    ratio = error(got, want) / budget(problem).forward
    assert 0.05 < ratio < 0.7
