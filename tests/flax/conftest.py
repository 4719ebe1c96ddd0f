"""What the Flax tests share: random weights and states; left out where Flax is not installed."""

from importlib.util import find_spec

import numpy as np
import pytest

from convgru.spec.shapes import nest_state, parameter_shapes, state_leaves, state_shapes
from convgru.weights import Weights

collect_ignore_glob = [] if find_spec("flax") else ["test_*.py"]


def pytest_report_header():
    return None if find_spec("flax") else "tests/flax: left out, flax is not installed"


def _weights(spec, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    arrays = {n: 0.3 * rng.standard_normal(shape) for n, shape in parameter_shapes(spec).items()}
    return Weights(spec, arrays).astype(dtype)


def _state(spec, batch, size, seed=1):
    """A random state, channels last as Flax has it."""
    rng = np.random.default_rng(seed)
    shapes = dict(state_leaves(spec, state_shapes(spec, batch, size)))
    return nest_state(spec, {n: rng.standard_normal((s[0], *s[2:], s[1])).astype("float32") for n, s in shapes.items()})


@pytest.fixture
def weights():
    """A function (spec, seed, dtype) -> Weights, every number random."""
    return _weights


@pytest.fixture
def random_state():
    """A function (spec, batch, size, seed) -> state in float32, channels last."""
    return _state
