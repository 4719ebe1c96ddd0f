"""Files that convgru writes in linen's layout, restored by flax.serialization into linen's own parameters."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen, serialization

import convgru
from convgru import reference


@pytest.mark.parametrize("both", [False, True], ids=["cell", "both"])
def test_from_bytes(both: bool, tmp_path: Path) -> None:
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
