"""The convolution: its gradients of first and second order against JAX's own, and the labels that XLA compiles."""

import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from convgru import network
from convgru.jax import apply, init
from convgru.convolution import Convolution
from convgru_jax.conv import correlate, plain

GEOMETRIES = {
    "1d": Convolution((3,), (1,), "same"),
    "1d-even-dilated": Convolution((4,), (2,), "same"),
    "2d": Convolution((3, 3), (1, 1), "same"),
    "2d-even": Convolution((2, 4), (1, 1), "same"),
    "2d-dilated": Convolution((3, 2), (2, 3), "same"),
    "2d-valid": Convolution((3, 2), (1, 2), "valid"),
    "2d-one-sided": Convolution((3, 3), (1, 1), ((0, 2), (1, 0))),
    "2d-growing": Convolution((2, 3), (1, 2), ((3, 2), (4, 1))),
    "2d-pointwise": Convolution((1, 1), (1, 1), "valid"),
    "2d-wider-than-image": Convolution((9, 9), (1, 1), "same"),
    "3d": Convolution((3, 3, 3), (1, 1, 1), "same"),
    "3d-even-dilated": Convolution((2, 3, 1), (2, 1, 1), "same"),
    "3d-valid": Convolution((2, 2, 3), (1, 2, 1), "valid"),
    "3d-growing": Convolution((2, 1, 2), (1, 1, 1), ((2, 1), (0, 0), (2, 2))),
}


def operands(geometry):
    rng = np.random.default_rng(0)
    ndim = len(geometry.kernel_size)
    return rng.standard_normal((2, *(6, 5, 4)[:ndim], 3)), rng.standard_normal((*geometry.kernel_size, 3, 2))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_gradients_of_every_order_are_those_of_autodiff(name, error):
    geometry = GEOMETRIES[name]
    x, w = operands(geometry)

    def value(convolve, x, w):
        return jnp.sin(convolve(geometry, x, w)).sum()

    def slopes(convolve, x, w):  # nonlinear in the first gradients, so that the second go through spread and collect
        gx, gw = jax.grad(value, (1, 2))(convolve, x, w)
        return (gx**3).sum() + (gw**3).sum()

    @jax.jit
    def everything(x, w):
        return [
            (f(geometry, x, w), jax.grad(value, (1, 2))(f, x, w), jax.grad(slopes, (1, 2))(f, x, w))
            for f in (correlate, plain)
        ]

    fast, own = everything(x, w)
    assert error(fast, own) < 1e-13


@pytest.mark.usefixtures("x64")
def test_convolution_is_its_definition(error):
    """A third opinion on where an even, dilated, unevenly padded kernel stands: one tap at a time."""
    geometry = GEOMETRIES["2d-growing"]
    x, w = operands(geometry)
    padded = np.pad(x, [(0, 0), *geometry.pads, (0, 0)])
    rows, columns = (n + more for n, more in zip(x.shape[1:-1], geometry.growth, strict=True))
    want = np.zeros((2, rows, columns, 2))
    for i, j in np.ndindex(*geometry.kernel_size):
        shifted = padded[:, i : i + rows, 2 * j : 2 * j + columns]
        want += shifted @ w[i, j]
    assert error(correlate(geometry, x, w), want) < 1e-14


NETWORKS = {
    "gru-before": (network("gru", 2, 4), (8, 8)),
    "gru-after": (network("gru", 2, 4, reset="after"), (8, 8)),
    "lstm": (network("lstm", 2, 4), (8, 8)),
    "rnn": (network("rnn", 2, 4), (8, 8)),
    "lstm-1d-dilated": (network("lstm", 2, 4, ndim=1, dilation=2), (9,)),
    "gru-3d": (network("gru", 2, 4, ndim=3), (4, 5, 6)),
    "gru-even-kernels": (network("gru", 2, 4, (2, 4)), (8, 8)),
    "lstm-valid-layers": (network("lstm", 2, [4, 3], [3, 2], padding="valid"), (8, 8)),
    "rnn-growing": (network("rnn", 2, 4, 3, padding=((0, 3), (2, 2))), (8, 8)),
}
CANONICAL = {"b0f_0io->b0f", "b01f_01io->b01f"}


def labels(spec, size, method):
    """The labels of every convolution in the compiled gradient."""
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        params, x = jax.device_put((init(spec, jax.random.key(0)), jnp.ones((3, 2, *size, spec.in_channels))), cpu)

    def loss(params, x):
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(apply(spec, params, x, method=method)))

    text = jax.jit(jax.grad(loss, (0, 1))).lower(params, x).compile().as_text()
    found = re.findall(r"dim_labels=([\w>-]+)", text)
    assert len(found) == len(re.findall(r"= \S+ convolution\(", text)) >= 5
    return set(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_gradient_has_fast_labels_alone(name):
    assert labels(*NETWORKS[name], "fast") <= CANONICAL


def test_autodiff_of_plain_convolution_has_others():
    """So the test above can fail; and where this one fails, XLA has caught up and the fast method may go."""
    assert not labels(*NETWORKS["lstm"], "plain") <= CANONICAL
