"""The ops whose MindSpore originals are not accurate enough."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from convgru_mindspore import ops


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_accurate_activations_beat_the_native_ones(name: str, mode: str) -> None:
    """Within half an eps, gradients too; the native float32 kernels are off by far more."""
    at = np.linspace(-8, 8, 4001).astype(np.float32)
    exact = {"sigmoid": 1 / (1 + np.exp(-at.astype(np.float64))), "tanh": np.tanh(at.astype(np.float64))}[name]
    slope = exact * (1 - exact) if name == "sigmoid" else 1 - exact**2
    ours, native = getattr(ops, name), getattr(ms.ops, name)
    eps = np.finfo(np.float32).eps
    assert np.abs(ours(ms.Tensor(at)).asnumpy() - exact).max() <= eps / 2
    assert np.abs(ms.grad(ours)(ms.Tensor(at)).asnumpy() - slope).max() <= eps / 2
    floor = {"sigmoid": 2 * eps, "tanh": 5e-5}[name]
    assert np.abs(native(ms.Tensor(at)).asnumpy() - exact).max() > floor
    assert np.abs(ms.grad(native)(ms.Tensor(at)).asnumpy() - slope).max() > eps


def test_an_activation_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match=r"expected an activation of 'tanh', .*, got 'gelu'"):
        ops.activation("gelu", ms.Tensor([1.0]))
