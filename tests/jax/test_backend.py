"""What convgru.registry asks of the JAX room: build, extract, execute, devices, precision."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import convgru
from convgru import forecaster, network, registry
from convgru import jax as face

BACKEND = registry.get("jax")
GRU = network("gru", 3, 4)
LSTM = network("lstm", 3, [4, 2])
CASTER = forecaster("gru", 1, 4, patch=2)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_build_and_extract_keep_every_byte(dtype):
    """float64 too, although JAX computes in float32 here."""
    weights = convgru.init(CASTER, 1, dtype)
    net = convgru.build(weights, "jax")
    assert BACKEND.owns(net)
    assert convgru.extract(net).equal(weights)


def test_built_parameters_do_not_share_the_memory_of_the_weights():
    weights = convgru.init(GRU, 1)
    _, params = convgru.build(weights, "jax")
    before = weights.arrays["layers.0.fwd.bias"].copy()
    weights.arrays["layers.0.fwd.bias"][:] = 7
    np.testing.assert_array_equal(params["layers.0.fwd.bias"], before)


def test_execute_in_float64_leaves_the_switch_alone():
    weights = convgru.init(GRU, 1, "float64")
    x = np.random.default_rng(0).standard_normal((2, 1, 3, 4, 4))
    y, _, _ = BACKEND.execute(weights, x)
    want, _ = convgru.reference.run(weights, x)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-14)
    assert jnp.zeros(1, float).dtype == jnp.float32


def test_precise_raises_the_precision_and_puts_it_back():
    before = jax.config.jax_default_matmul_precision
    given = face.init(GRU, jax.random.key(0)), jnp.ones((2, 1, 4, 4, 3))
    with BACKEND.precise():
        text = jax.jit(lambda p, x: face.apply(GRU, p, x)).lower(*given).as_text()
    assert "HIGHEST" in text
    assert jax.config.jax_default_matmul_precision == before
    assert "HIGHEST" not in jax.jit(lambda p, x: face.apply(GRU, p, x)).lower(*given).as_text()


def test_devices_versions_and_notes():
    assert "cpu" in BACKEND.devices()
    assert BACKEND.versions()["jax"] == jax.__version__
    assert any("float64: off" in note for note in BACKEND.notes())


def test_jax_may_have_no_cpu(monkeypatch):
    """JAX_PLATFORMS=cuda leaves it out."""

    def devices(platform):
        if platform == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return [found]

    (found,) = jax.devices("cpu")[:1]
    monkeypatch.setattr(jax, "devices", devices)
    assert list(BACKEND.devices()) == ["cuda:0"]
    with pytest.raises(convgru.UnsupportedError, match="no device 'cpu' here: only cuda:0"):
        BACKEND.build(convgru.init(GRU), device="cpu")


@pytest.mark.gpu
def test_gradients_on_the_gpu_are_those_of_the_cpu():
    gpus = [name for name in BACKEND.devices() if name.startswith("cuda")]
    if not gpus:
        pytest.skip("JAX sees no GPU")
    rng = np.random.default_rng(0)
    for spec, size in ((LSTM, (9, 8)), (network("gru", 3, 4, (2, 3, 3), ndim=3), (5, 6, 4))):
        weights = convgru.init(spec, 1)
        x = rng.standard_normal((3, 2, 3, *size)).astype("float32")
        y, final, _ = BACKEND.execute(weights, x)
        with BACKEND.precise():
            cpu, gpu = (BACKEND.execute(weights, x, cotangents=(y, final), device=name) for name in ("cpu", gpus[0]))
        for got, want in zip(jax.tree.leaves(gpu), jax.tree.leaves(cpu), strict=True):
            assert np.abs(got - want).max() < 2e-5 * max(1, np.abs(want).max())
