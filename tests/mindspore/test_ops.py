"""The ops whose MindSpore originals are not accurate enough."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from convgru_mindspore import ops


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_accurate_activations_beat_the_native_ones(name: str, mode: str) -> None:
    """Within 1.5 eps, gradients within 2; the native float32 kernels are off by more."""
    at = np.linspace(-20, 20, 40001).astype(np.float32)
    exact = {"sigmoid": 1 / (1 + np.exp(-at.astype(np.float64))), "tanh": np.tanh(at.astype(np.float64))}[name]
    slope = exact * (1 - exact) if name == "sigmoid" else 1 - exact**2
    ours, native = getattr(ops, name), getattr(ms.ops, name)
    eps = np.finfo(np.float32).eps
    assert np.abs(ours(ms.Tensor(at)).asnumpy() - exact).max() <= 1.5 * eps
    assert np.abs(ms.grad(ours)(ms.Tensor(at)).asnumpy() - slope).max() <= 2 * eps
    floor = {"sigmoid": 5 * eps, "tanh": 5e-5}[name]
    assert np.abs(native(ms.Tensor(at)).asnumpy() - exact).max() > floor
    assert np.abs(ms.grad(native)(ms.Tensor(at)).asnumpy() - slope).max() > eps


def test_a_small_tanh_keeps_its_digits() -> None:
    at = np.geomspace(1e-30, 1, 2001).astype(np.float32)
    exact = np.tanh(at.astype(np.float64))
    assert np.abs(ops.tanh(ms.Tensor(at)).asnumpy() / exact - 1).max() <= 4 * np.finfo(np.float32).eps


def test_an_activation_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match=r"expected an activation of 'tanh', .*, got 'gelu'"):
        ops.activation("gelu", ms.Tensor([1.0]))
