"""dtype, param_dtype and promotion, as every nnx layer has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support import relative_error

import convgru.flax as cf
import convgru.jax as cj
from convgru.errors import UnsupportedError


@pytest.fixture
def net():
    return cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(0))


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((2, 4, 5, 6, 2)).astype("float32")


def names(module):
    return {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module))}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, "float32"])
def test_dtype_casts_all_three(dtype, net, x):
    half = cf.ConvGRU.from_spec(net.spec, arrays=net.arrays(), dtype=dtype)
    y, carry = half(x, net.initialize_carry(x[:, 0].shape))
    assert y.dtype == carry[0].dtype == jnp.dtype(dtype)
    assert names(half) == names(net)
    assert half.arrays()["layers.0.fwd.bias"].dtype == jnp.float32
    assert relative_error(y, net(x)[0]) < 8 * float(jnp.finfo(dtype).eps)
    cell = cf.ConvGRUCell(2, 3, dtype=dtype, rngs=nnx.Rngs(0))
    assert nnx.RNN(cell)(x).dtype == jnp.dtype(dtype)


def test_param_dtype(x):
    net = cf.ConvGRU(2, 3, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert {array.dtype for array in net.arrays().values()} == {jnp.dtype(jnp.bfloat16)}
    assert net(jnp.asarray(x, jnp.bfloat16))[0].dtype == jnp.bfloat16
    assert net.initialize_carry((1, 4, 4, 2))[0].dtype == jnp.bfloat16


def test_float64_follows_the_parameters(x):
    single = cf.ConvGRU(2, 3, rngs=nnx.Rngs(0))
    with jax.enable_x64(True):
        net = cf.ConvGRU(2, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        y, carry = net(x.astype("float64"))
        assert y.dtype == carry[0].dtype == jnp.float64
        assert single(x)[0].dtype == jnp.float32


HALF, SINGLE = jnp.bfloat16, jnp.float32


@pytest.mark.parametrize(
    ("param_dtype", "given", "want"),
    [
        (SINGLE, HALF, SINGLE),
        (HALF, SINGLE, SINGLE),
        (HALF, jnp.float16, SINGLE),
        (SINGLE, jnp.uint8, SINGLE),
        (HALF, jnp.int32, HALF),
        (HALF, HALF, HALF),
    ],
)
def test_without_a_dtype_all_promote_as_in_nnx(param_dtype, given, want, x):
    """Parameters and inputs promote together, as in nnx.Linear; numbers equal casts by hand."""
    assert nnx.Linear(2, 3, param_dtype=param_dtype, rngs=nnx.Rngs(0))(jnp.zeros((1, 2), given)).dtype == want
    net, x = cf.ConvLSTM(2, 3, param_dtype=param_dtype, rngs=nnx.Rngs(0)), jnp.asarray(4 * x).astype(given)
    y, ((h, c),) = net(x)
    assert y.dtype == h.dtype == c.dtype == want
    params = {name: array.astype(want) for name, array in net.arrays().items()}
    assert np.array_equal(y, cf.ConvLSTM.from_spec(net.spec, arrays=params)(x.astype(want))[0])
    cell = net.layers[0].fwd
    assert cell(cell.initialize_carry(x[:, 0].shape), x[:, 0])[1].dtype == want
    assert net.step(x[:, 0])[0].dtype == want
    frames, _ = cf.Forecaster("gru", 2, 3, param_dtype=param_dtype, rngs=nnx.Rngs(0))(x, 2)
    assert frames.dtype == want


def test_the_carry_and_the_context_promote_too_but_masks_follow(x):
    net = cf.ConvGRU(2, 3, param_dtype=HALF, zoneout=0.5, rngs=nnx.Rngs(0))
    x = jnp.asarray(x, HALF)
    assert net(x, (jnp.zeros((2, 5, 6, 3), SINGLE),))[0].dtype == SINGLE
    assert net(x, context=[jnp.zeros((2, 5, 6, 9), SINGLE)])[0].dtype == SINGLE
    masks = cj.draw_masks(net.spec, jax.random.key(0), 4, 2, (5, 6))
    assert masks["zoneout.0.h"].dtype == SINGLE
    assert net(x, masks=masks)[0].dtype == HALF


def test_float64_while_64_bit_mode_is_off(net, x):
    """JAX would make float32 of it without a word; with a ``dtype`` the user has said so."""
    wide = x.astype("float64")
    for call in (
        lambda: net(wide),
        lambda: net.step(wide[:, 0]),
        lambda: net(x, (np.zeros((2, 5, 6, 4)), np.zeros((2, 5, 6, 3)))),
        lambda: net(x, context=[np.zeros((2, 5, 6, 12)), np.zeros((2, 5, 6, 9))]),
        lambda: net.layers[0].fwd(np.zeros((2, 5, 6, 4), "float32"), wide[:, 0]),
        lambda: cf.Forecaster("gru", 2, 3, rngs=nnx.Rngs(0))(wide, 1),
        lambda: cf.Forecaster("gru", 2, 3, rngs=nnx.Rngs(0)).step(wide[:, 0]),
        lambda: cf.Forecaster("gru", 2, 3, time_major=True, rngs=nnx.Rngs(0)).step(wide[:, 0]),
    ):
        with pytest.raises(UnsupportedError, match="JAX computes float64 only in 64-bit mode"):
            call()
    cast = cf.ConvGRU.from_spec(net.spec, arrays=net.arrays(), dtype="float32")
    assert np.array_equal(cast(wide)[0], net(x)[0])
    with jax.enable_x64(True):
        assert net(wide)[0].dtype == jnp.float64


def test_what_no_network_computes_in(net, x):
    with pytest.raises(TypeError, match=r"ConvGRU expected a dtype of float64, .*, got complex64"):
        net(x.astype("complex64"))
    with pytest.raises(TypeError, match="ConvGRU expected x to be an array, got list"):
        net(x.tolist())
