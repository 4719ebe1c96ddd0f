"""The examples in JAX and Flax show what they say, with fewer steps of training."""

from __future__ import annotations

import pytest
from support import scripts


def test_a_flax_network_trained_with_optax_remembers_what_is_hidden():
    network, dark = scripts.example("optax_training").main(steps=100).values()
    assert network < 0.7 * dark  # 0.83 is the best guess of a network without memory


def test_the_members_of_an_ensemble_disagree_where_they_are_wrong():
    known, strange = scripts.example("ensemble_vmap").main(steps=150, members=4).values()
    for errors in (known, strange):
        member, mean, spread = errors.values()
        assert member == pytest.approx(mean + spread, rel=1e-4)
    assert known["error of a member"] < 0.2 * strange["error of a member"]
    assert known["spread"] < 0.5 * strange["spread"]
