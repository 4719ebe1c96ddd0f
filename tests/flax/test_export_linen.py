"""Exports loaded into flax.linen.ConvLSTMCell, in linen's own RNN and Bidirectional."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, serialization
from flax.traverse_util import unflatten_dict
from support import assert_close, random_weights

import convgru
from convgru import reference
from convgru.importers import adopt, export

SIZES = {1: (7,), 2: (5, 4), 3: (4, 3, 5)}


def cell_of(spec: Any) -> Any:
    """Linen's cell of the same sizes; it adds one to the forget gate at run time."""
    layer = spec.layers[0]
    return linen.ConvLSTMCell(layer.hidden_channels, layer.kernel_size)


def channels_last(x: np.ndarray) -> np.ndarray:
    """(T, B, C, *S) as linen has it, (B, T, *S, C)."""
    return np.moveaxis(x.swapaxes(0, 1), 2, -1)


@pytest.mark.parametrize("kernel", [3, 2], ids=["odd", "even"])
@pytest.mark.parametrize("ndim", SIZES)
def test_one_direction(ndim: int, kernel: int) -> None:
    weights = random_weights(convgru.network("lstm", 2, 3, kernel, ndim=ndim), dtype="float32")
    arrays = export(weights, "linen")
    params = {"params": {"cell": unflatten_dict({name: jnp.asarray(a) for name, a in arrays.items()}, sep="/")}}
    net = linen.RNN(cell_of(weights.spec), return_carry=True)
    x = np.random.default_rng(0).standard_normal((4, 2, 2, *SIZES[ndim])).astype(np.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), channels_last(x))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    (c, h), y = net.apply(params, channels_last(x))
    wanted, ((h_end, c_end),) = reference.run(weights, x)
    for got, want in ((y, channels_last(wanted)), (h, np.moveaxis(h_end, 1, -1)), (c, np.moveaxis(c_end, 1, -1))):
        assert_close(got, want)
    back = adopt(arrays, "linen")
    assert back.spec == weights.spec
    for name, array in weights.arrays.items():
        assert np.abs(back.arrays[name] - array).max() <= 2**-23 * max(1.0, np.abs(array).max()), name


def test_both_directions() -> None:
    weights = random_weights(convgru.network("lstm", 2, 3, 3, bidirectional=True), dtype="float32")
    params = {"params": unflatten_dict({name: jnp.asarray(a) for name, a in export(weights, "linen").items()}, sep="/")}
    net = linen.Bidirectional(linen.RNN(cell_of(weights.spec)), linen.RNN(cell_of(weights.spec)))
    x = np.random.default_rng(0).standard_normal((4, 2, 2, 5, 4)).astype(np.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), channels_last(x))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    wanted, _ = reference.run(weights, x)
    assert_close(net.apply(params, channels_last(x)), channels_last(wanted))


def test_without_a_bias_there_is_no_such_cell() -> None:
    with pytest.raises(convgru.WeightsError, match="linen"):
        export(random_weights(convgru.network("lstm", 2, 3, 3, bias=False), dtype="float32"), "linen")


@pytest.mark.parametrize("both", [False, True], ids=["cell", "both"])
def test_a_written_file_is_restored_by_from_bytes(both: bool, tmp_path: Path) -> None:
    weights = convgru.init(convgru.network("lstm", 2, 3, bidirectional=both), 5)
    convgru.write(weights, tmp_path / "linen.msgpack", layout="linen")
    data = (tmp_path / "linen.msgpack").read_bytes()
    x = np.random.default_rng(0).standard_normal((4, 2, 2, 5, 4)).astype(np.float32)
    frames = np.moveaxis(x.swapaxes(0, 1), 2, -1)  # (B, T, *S, C)
    wanted = np.moveaxis(reference.run(weights, x)[0].swapaxes(0, 1), 2, -1)
    cell = linen.ConvLSTMCell(3, (3, 3))
    if both:
        net = linen.Bidirectional(linen.RNN(cell), linen.RNN(linen.ConvLSTMCell(3, (3, 3))))
        params = serialization.from_bytes(net.init(jax.random.key(0), frames), data)
    else:
        net = linen.RNN(cell)
        start = cell.initialize_carry(jax.random.key(0), frames[:, 0].shape)
        own = serialization.from_bytes(cell.init(jax.random.key(0), start, frames[:, 0]), data)
        params = {"params": {"cell": own["params"]}}  # the file is that of the cell alone
    assert np.abs(net.apply(params, frames) - wanted).max() < 1e-5
