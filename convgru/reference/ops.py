"""Operations of the NumPy reference: channels last, convolution by matrix products.

Every array may carry further leading axes, the same for all (copies of one network run at once):
images are (..., B, *S, C). Complex input is supported, and nothing takes an absolute value or a
maximum, so that f(p + 1e-30i) carries the derivative of f.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convgru.spec import NORMED, CellSpec, ForecasterSpec
from convgru.spec.convolution import Convolution, pool_matrix


@dataclass(frozen=True)
class Kernel:
    """A convolution's weights as a matrix (..., groups, in/groups · taps, rows/groups)."""

    matrix: np.ndarray
    geometry: Convolution


@dataclass(frozen=True)
class NormPart:
    """One normalised tensor: number of groups, ε, and the weight and bias of its channels."""

    groups: int
    eps: float
    weight: np.ndarray
    bias: np.ndarray
    ndim: int


Params = Mapping[str, "Kernel | NormPart | np.ndarray"]


def prepare(spec: CellSpec, arrays: Mapping[str, np.ndarray]) -> Params:
    """Prepare one cell's parameters, given by their short names, for the operations below."""
    ndim, gates = spec.ndim, spec.gates
    p: dict[str, Kernel | NormPart | np.ndarray] = {
        "ih": kernel(arrays["weight_ih"], spec.input_convolution),
        "hh": kernel(arrays["weight_hh"], spec.recurrent_convolution(gates)),
    }
    if spec.reset == "before":
        cut = 2 * spec.hidden_channels
        p["hh_rz"] = kernel(_rows(arrays["weight_hh"], ndim, 0, cut), spec.recurrent_convolution(2))
        p["hh_n"] = kernel(_rows(arrays["weight_hh"], ndim, cut, None), spec.recurrent_convolution(1))
    for name in ("bias", "bias_hn"):
        if name in arrays:
            p[name] = channel_vector(arrays[name], ndim)
    for name in ("peephole_i", "peephole_f", "peephole_o") if spec.peephole is not None else ():
        if spec.peephole == "conv":
            p[name] = kernel(arrays[name], spec.recurrent_convolution(1))
        else:  # (..., H, *S) as (..., 1, *S, H), to be multiplied with images
            p[name] = np.expand_dims(np.moveaxis(arrays[name], -(ndim + 1), -1), -(ndim + 2))
    if spec.norm is not None:
        start = 0
        for part, groups in zip(NORMED[spec.cell], spec.norm.groups, strict=True):
            stop = start + len(part) * spec.hidden_channels
            weight, bias = (
                channel_vector(arrays[f"norm_{kind}"][..., start:stop], ndim) for kind in ("weight", "bias")
            )
            p["norm_" + part] = NormPart(groups, spec.norm.eps, weight, bias, ndim)
            start = stop
    return p


def _rows(weight: np.ndarray, ndim: int, start: int, stop: int | None) -> np.ndarray:
    rows: tuple[Any, ...] = (..., slice(start, stop), *(slice(None),) * (ndim + 1))
    chosen: np.ndarray = weight[rows]
    return chosen


def prepare_readout(spec: ForecasterSpec, arrays: Mapping[str, np.ndarray]) -> Params:
    """Prepare the parameters of a forecaster's readout for the operations below."""
    ones = (1,) * spec.ndim
    return {
        "readout": kernel(arrays["readout.weight"], Convolution(ones, ones, ones, padding="valid")),
        "readout_bias": channel_vector(arrays["readout.bias"], spec.ndim),
    }


def kernel(weight: np.ndarray, geometry: Convolution) -> Kernel:
    """Reshape (..., gates·groups·rows, in, *k) to one matrix for each group, for ``conv``."""
    lead = weight.shape[: -(len(geometry.kernel_size) + 2)]
    columns = prod(weight.shape[len(lead) + 1 :])
    cut = weight.reshape(*lead, geometry.gates, geometry.groups, -1, columns)
    by_group = np.moveaxis(cut, -3, -4).reshape(*lead, geometry.groups, -1, columns)
    return Kernel(np.swapaxes(by_group, -1, -2), geometry)


def channel_vector(v: np.ndarray, ndim: int) -> np.ndarray:
    """(..., C) as (..., 1, *1, C), to be added to images."""
    return v.reshape(*v.shape[:-1], *(1,) * (ndim + 1), v.shape[-1])


MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""NumPy's names of the padding modes."""


def conv(x: np.ndarray, p: Params, name: str) -> np.ndarray:
    """Cross-correlation: pad, view every window, one matrix product for each group."""
    weights = p[name]
    assert isinstance(weights, Kernel)
    geometry = weights.geometry
    columns, pixels = windows(x, geometry)
    out: np.ndarray = columns @ weights.matrix  # (..., groups, pixels, gates · rows)
    cut = out.reshape(*out.shape[:-1], geometry.gates, out.shape[-1] // geometry.gates)
    whole = np.moveaxis(cut, -4, -2)  # (..., pixels, gates, groups, rows)
    return whole.reshape(*whole.shape[:-4], *pixels, prod(whole.shape[-3:]))


def windows(x: np.ndarray, geometry: Convolution) -> tuple[np.ndarray, tuple[int, ...]]:
    """Windows of x as (..., groups, pixels, channels/groups · taps), and the result's (B, *S)."""
    ndim = len(geometry.kernel_size)
    axes = tuple(range(x.ndim - ndim - 1, x.ndim - 1))
    pads = geometry.pads(x.shape[x.ndim - ndim - 1 : -1])
    widths = [(0, 0)] * (x.ndim - ndim - 1) + list(pads) + [(0, 0)]
    spans = tuple(d * (k - 1) + 1 for k, d in zip(geometry.kernel_size, geometry.dilation, strict=True))
    padded = np.pad(x, widths, mode=MODES[geometry.padding_mode])  # type: ignore[call-overload]
    view = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=axes)
    steps = [slice(None, None, s) for s in geometry.stride]
    taps = [slice(None, None, d) for d in geometry.dilation]
    chosen: tuple[Any, ...] = (..., *steps, slice(None), *taps)
    view = view[chosen]
    images = view.shape[: x.ndim - 1]  # (..., B, *S), then C and the taps
    lead, pixels = images[: -(ndim + 1)], images[-(ndim + 1) :]
    width = prod(view.shape[x.ndim - 1 :]) // geometry.groups
    columns = view.reshape(*lead, prod(pixels), geometry.groups, width)
    return np.moveaxis(columns, -2, -3), pixels


def peep(c: np.ndarray, p: Params, name: str) -> np.ndarray:
    """P·c: elementwise, or a convolution."""
    weights = p[name]
    return weights * c if isinstance(weights, np.ndarray) else conv(c, p, name)


def norm(a: np.ndarray, p: Params, part: str) -> np.ndarray:
    """Group norm over space and the channels of each group, then weight and bias by channel."""
    affine = p["norm_" + part]
    assert isinstance(affine, NormPart)
    axes = (*range(-(affine.ndim + 2), -2), -1)
    cut = a.reshape(*a.shape[:-1], affine.groups, -1)
    centred = cut - cut.mean(axis=axes, keepdims=True)
    scaled = centred / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + affine.eps)
    return np.asarray(scaled.reshape(a.shape) * affine.weight + affine.bias)


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


def concat(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Put the channels of b behind those of a."""
    lead = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return np.concatenate([np.broadcast_to(each, (*lead, each.shape[-1])) for each in (a, b)], axis=-1)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−a)), without overflow for either sign."""
    positive = np.real(a) >= 0
    t = np.exp(np.where(positive, -a, a))
    return np.where(positive, 1 / (1 + t), t / (1 + t))


def _ramp(slope: float) -> Callable[[np.ndarray], np.ndarray]:
    """slope·x + 0.5, clipped to [0, 1] by the sign of the real part, as the complex step needs."""

    def ramp(a: np.ndarray) -> np.ndarray:
        line = slope * a + 0.5
        return np.where(np.real(line) <= 0, 0, np.where(np.real(line) >= 1, 1, line))

    return ramp


ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "relu": lambda a: np.where(np.real(a) <= 0, 0, a),  # NaN stays NaN
    "leaky_relu": lambda a: np.where(np.real(a) <= 0, 0.01 * a, a),
    "sigmoid": _sigmoid,
    "hard_sigmoid": _ramp(1 / 6),
    "hard_sigmoid_0.2": _ramp(0.2),
}


def activation(name: str, a: np.ndarray) -> np.ndarray:
    """The activation called ``name``."""
    return ACTIVATIONS[name](a)


def pool(x: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Adaptive average pooling of (..., *S, C).

    Output i is the mean of the inputs ⌊i·n/m⌋ to ⌈(i+1)·n/m⌉ − 1.
    """
    for axis, m in enumerate(size, start=x.ndim - 1 - len(size)):
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ np.array(pool_matrix(x.shape[axis], m)), -1, axis)
    return x


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
