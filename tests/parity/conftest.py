"""The parity table runs the programs that users run: compiled with every optimisation."""

import sys

import pytest

OPTION = "jax_disable_most_optimizations"
"""Which ``tests/conftest.py`` sets for the other tests."""


@pytest.fixture(autouse=True, scope="module")
def optimised():
    """Compile anew, for the option is no part of what JAX looks a program up by."""
    jax = sys.modules.get("jax")
    if jax is None:
        yield
        return
    before = jax.config.read(OPTION)
    for value in (False, before):
        jax.clear_caches()
        jax.config.update(OPTION, value)
        if value is False:
            yield
