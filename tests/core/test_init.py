"""Initial weights: the distributions that design and docstring promise."""

import numpy as np
import pytest

from convgru.spec import forecaster, network
from convgru.weights import WeightsError, init

FIRST = [-0.9718659286687046, -0.48446550875076455, -0.05686923796942067]
SPECS = [network("gru", 5, [8, 4], (3, 2)), network("lstm", 3, 6, ndim=1), network("rnn", 2, 3, ndim=3)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.title)
def test_each_gate_is_drawn_by_itself(spec):
    weights = init(spec, 7, "float64")
    for index, layer in enumerate(spec.layers):
        ih, hh = (weights.arrays[f"layers.{index}.fwd.weight_{kind}"] for kind in ("ih", "hh"))
        taps = int(np.prod(layer.kernel_size))
        bound = np.sqrt(6 / ((layer.in_channels + layer.hidden_channels) * taps))
        assert 0.8 * bound < np.abs(ih).max() <= bound
        for gate in np.split(hh, layer.gates):
            rows = gate.reshape(layer.hidden_channels, -1)
            np.testing.assert_allclose(rows @ rows.T, np.eye(layer.hidden_channels), atol=1e-12)


def test_biases_are_zero_but_for_the_forget_gate():
    bias = init(network("lstm", 1, 2)).arrays["layers.0.fwd.bias"]
    np.testing.assert_array_equal(bias, [0, 0, 1, 1, 0, 0, 0, 0])
    weights = init(forecaster("lstm", 1, 2, patch=4))
    np.testing.assert_array_equal(weights.arrays["readout.bias"], np.zeros(16))
    assert not any(a.any() for n, a in init(network("gru", 1, 2, reset="after")).arrays.items() if "bias" in n)


def test_a_seed_says_it_all():
    spec = SPECS[0]
    assert init(spec, 1).equal(init(spec, 1))
    assert not init(spec, 1).equal(init(spec, 2))
    assert init(spec, 1, "float64").astype("float32").equal(init(spec, 1))


def test_a_seed_gives_these_numbers():
    """Frozen: a file of results that says `seed=0` must keep its meaning from version to version."""
    array = init(network("gru", 1, 1, ndim=1), 0, "float64").arrays["layers.0.fwd.weight_ih"].ravel()
    np.testing.assert_allclose(array[:3], FIRST, rtol=1e-12)


@pytest.mark.parametrize("seed", [-1, 1.5, None, True, "0"])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match="init expected a seed that is an integer >= 0"):
        init(SPECS[0], seed)


def test_bad_dtype():
    with pytest.raises(WeightsError, match="dtype expected one of float64, float32, float16, bfloat16, got int32"):
        init(SPECS[0], 0, "int32")
