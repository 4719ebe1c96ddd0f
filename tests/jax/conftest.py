"""Shared by the JAX tests: random problems with nonzero biases, channels last, and the error."""

import jax
import numpy as np
import pytest
from support import relative_error

from convgru.initialization import init
from convgru.parity.cases import make_problem, noisy
from convgru.spec.shapes import nest_state, state_leaves


class Net:
    """A network in JAX's layout: spec, params, x (T, B, *S, C), state; its neutral ``problem``."""

    def __init__(self, spec, size, dtype="float32", **options):
        self.spec = spec
        self.problem = make_problem(noisy(init(spec, 3, "float64"), 3), size, dtype, **options)
        self.params = {name: jax.numpy.asarray(array) for name, array in self.problem.weights.arrays.items()}
        self.x = np.moveaxis(self.problem.x, 2, -1)
        self.state = last(spec, self.problem.state)


def last(spec, state):
    """A state (B, H, *S) as (B, *S, H)."""
    leaves = dict(state_leaves(spec, state))
    return nest_state(spec, {name: np.moveaxis(np.asarray(leaf), 1, -1) for name, leaf in leaves.items()})


@pytest.fixture
def net():
    """A function (spec, size, dtype, **options of make_problem) -> Net."""
    return Net


@pytest.fixture
def channels_last():
    """A function (spec, state) -> state, channels last."""
    return last


@pytest.fixture
def error():
    """``support.relative_error``: max|got − want| / max(1, max|want|) over two trees' leaves."""
    return relative_error


@pytest.fixture
def x64():
    """Float64 in JAX for one test."""
    with jax.enable_x64(True):
        yield
