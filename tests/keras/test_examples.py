"""The example of a Keras checkpoint to JAX and back, with Keras itself, on its PyTorch backend."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported; nothing else in this environment uses it

import pytest
from support import scripts

pytest.importorskip("jax")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras: the file has not all layers
def test_a_layer_of_keras_goes_to_jax_and_back():
    read, away, back, before, after = scripts.example("keras_to_jax").main(steps=5).values()
    assert max(read, back) < 1e-5
    assert away > 0.1
    assert after < 0.95 * before
