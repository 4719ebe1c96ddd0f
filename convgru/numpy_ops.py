"""The ops of the NumPy reference: channels last, convolution through matrix products, complex input welcome.

Every array may carry further leading axes, the same for all (many perturbed copies of one network run at once): images are
(..., B, *S, C). Nothing here takes an absolute value or a maximum, so that f(p + 1e-30i) carries the derivative of f.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convgru.padding import Convolution
from convgru.shapes import layer_prefix
from convgru.spec import CellSpec, ForecasterSpec


@dataclass(frozen=True)
class Kernel:
    """A convolution's weights as a matrix (..., in · taps, out), and its geometry."""

    matrix: np.ndarray
    geometry: Convolution


Params = Mapping[str, "Kernel | np.ndarray"]


def prepare(spec: CellSpec, arrays: Mapping[str, np.ndarray], layer: int, prefix: str = "") -> Params:
    """The parameters of one layer in the form that the ops below take."""
    own = {name: arrays[prefix + layer_prefix(layer) + name] for name in ("weight_ih", "weight_hh")}
    hidden, ndim, recurrent = spec.hidden_channels, spec.ndim, spec.recurrent_convolution
    rows = np.moveaxis(own["weight_hh"], -(ndim + 2), 0)
    p: dict[str, Kernel | np.ndarray] = {
        "ih": kernel(own["weight_ih"], spec.input_convolution),
        "hh": kernel(own["weight_hh"], recurrent),
        "hh_rz": kernel(np.moveaxis(rows[: 2 * hidden], 0, -(ndim + 2)), recurrent),
        "hh_n": kernel(np.moveaxis(rows[2 * hidden :], 0, -(ndim + 2)), recurrent),
    }
    for name in ("bias", "bias_hn"):
        array = arrays.get(prefix + layer_prefix(layer) + name)
        if array is not None:
            p[name] = channel_vector(array, ndim)
    return p


def prepare_readout(spec: ForecasterSpec, arrays: Mapping[str, np.ndarray]) -> Params:
    """The parameters of a forecaster's readout in the form that the ops below take."""
    ones = (1,) * spec.ndim
    return {
        "readout": kernel(arrays["readout.weight"], Convolution(ones, ones, "valid")),
        "readout_bias": channel_vector(arrays["readout.bias"], spec.ndim),
    }


def kernel(weight: np.ndarray, geometry: Convolution) -> Kernel:
    """(..., out, in, *k) as a matrix whose rows are ordered as ``conv`` lays out its windows."""
    lead = weight.shape[: -(len(geometry.kernel_size) + 2)]
    rows = prod(weight.shape[len(lead) + 1 :])
    return Kernel(np.swapaxes(weight.reshape(*lead, -1, rows), -1, -2), geometry)


def channel_vector(v: np.ndarray, ndim: int) -> np.ndarray:
    """(..., C) as (..., 1, *1, C), to be added to images."""
    return v.reshape(*v.shape[:-1], *(1,) * (ndim + 1), v.shape[-1])


def conv(x: np.ndarray, p: Params, name: str) -> np.ndarray:
    """Cross-correlation: pad, view every window, one matrix product."""
    weights = p[name]
    assert isinstance(weights, Kernel)
    geometry = weights.geometry
    ndim = len(geometry.kernel_size)
    axes = tuple(range(x.ndim - ndim - 1, x.ndim - 1))
    widths = [(0, 0)] * (x.ndim - ndim - 1) + list(geometry.pads) + [(0, 0)]
    spans = tuple(d * (k - 1) + 1 for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, widths), spans, axis=axes)
    taps: tuple[Any, ...] = (..., *(slice(None, None, d) for d in geometry.dilation))
    windows = windows[taps]
    images = windows.shape[: x.ndim - 1]  # (..., B, *S), then C and the taps
    columns = windows.reshape(*images[: -(ndim + 1)], prod(images[-(ndim + 1) :]), prod(windows.shape[x.ndim - 1 :]))
    out: np.ndarray = columns @ weights.matrix
    return out.reshape(*out.shape[:-2], *images[-(ndim + 1) :], out.shape[-1])


def add_channel(a: np.ndarray, p: Params, name: str) -> np.ndarray:
    """Add a vector along the channels."""
    vector = p[name]
    assert isinstance(vector, np.ndarray)
    return a + vector


def split(a: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """Cut the channels into n equal parts."""
    return tuple(np.split(a, n, axis=-1))


def split_rz_n(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the channels into the first two thirds and the last third."""
    cut = a.shape[-1] // 3 * 2
    return a[..., :cut], a[..., cut:]


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−a)), without overflow for either sign."""
    positive = np.real(a) >= 0
    t = np.exp(np.where(positive, -a, a))
    return np.where(positive, 1 / (1 + t), t / (1 + t))


def tanh(a: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    return np.asarray(np.tanh(a))


def relu(a: np.ndarray) -> np.ndarray:
    """The positive part, by the sign of the real one."""
    return np.where(np.real(a) <= 0, 0, a)  # NaN stays NaN


def activation(name: str, a: np.ndarray) -> np.ndarray:
    """The activation called ``name``."""
    return {"tanh": tanh, "relu": relu}[name](a)


def patch(x: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Pixel unshuffle: (..., *S, c) to (..., *S/p, c·∏p), channels in the order (c, i, j)."""
    ndim = len(sizes)
    lead, size, channels = x.shape[: -(ndim + 1)], x.shape[-(ndim + 1) : -1], x.shape[-1]
    inside = [n for s, p in zip(size, sizes, strict=True) for n in (s // p, p)]
    cut = x.reshape(*lead, *inside, channels)
    base = len(lead)
    order = [*range(base), *range(base, base + 2 * ndim, 2), cut.ndim - 1, *range(base + 1, base + 2 * ndim, 2)]
    return cut.transpose(order).reshape(*lead, *inside[::2], channels * prod(sizes))


def unpatch(a: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """Pixel shuffle: the inverse of ``patch``."""
    ndim = len(patch)
    lead, size = a.shape[: -(ndim + 1)], a.shape[-(ndim + 1) : -1]
    cut = a.reshape(*lead, *size, a.shape[-1] // prod(patch), *patch)
    base = len(lead)
    pairs = [axis for i in range(ndim) for axis in (base + i, base + ndim + 1 + i)]
    whole = cut.transpose([*range(base), *pairs, base + ndim])
    return whole.reshape(*lead, *(s * p for s, p in zip(size, patch, strict=True)), -1)
