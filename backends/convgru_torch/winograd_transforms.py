"""The transforms of Winograd's convolution F(4x4, 3x3), as plain matrix products.

An image is cut into tiles of 6x6 pixels that overlap by 2; each gives 4x4 pixels of the result::

    Y = Aᵀ [(G w Gᵀ) ∘ (Bᵀ d B)] A        of one tile d and one kernel w, summed over channels

The sum over channels is one matrix product for each of the 36 numbers of a tile, with 36/16 = 2.25
multiplications for each pixel, channel in and channel out, where the convolution has 9.

Sources: Winograd 1980, Lavin and Gray 2016 (arXiv:1509.09308); the choice of points follows
Barabasz et al. 2020 (arXiv:1803.10986).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = (0.0, 0.6875, -0.6875, 1.5, -1.5)
"""Where the polynomials are evaluated, besides infinity. With the usual 0, ±1, ±2 rounding grows
four times as much (``amplification``).
"""
TILE, STEP = 6, 4
TILES = 512
"""How many tiles to compute at once."""


@cache
def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aᵀ (4, 6), G (6, 3) and Bᵀ (6, 6) in float64, of Toom and Cook's algorithm."""
    points = np.array(POINTS)
    outputs, kernel, image = np.zeros((4, 6)), np.zeros((6, 3)), np.zeros((6, 6))
    outputs[:, :5], kernel[:5] = np.vander(points, 4, increasing=True).T, np.vander(points, 3, increasing=True)
    outputs[3, 5] = kernel[5, 2] = 1
    for i, point in enumerate(points):
        others = np.delete(points, i)
        image[i, :5] = np.poly(others)[::-1] / np.prod(point - others)
    image[5] = np.poly(points)[::-1]
    return outputs, kernel, image


@cache
def amplification() -> float:
    """How much more rounding the result has than a sum of the same products, at the worst pixel.

    Each of the 36 products of sums over channels rounds as the convolution does, relative to its
    own terms; the last transform adds these errors up. For numbers of random signs the variances
    are those of the transforms' rows, and the ratio of the standard deviations to that of a
    convolution's, whose 9 taps have the variance 1 each, is this number.
    """
    outputs, kernel, image = matrices()
    terms = (kernel**2).sum(1) * (image**2).sum(1)
    one_dimension = sqrt(float(((outputs**2) @ terms).max()) / 3)
    return one_dimension**2


def _squares(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of rows and columns in one matrix: Kronecker products with themselves."""
    output, kernel, image = (torch.from_numpy(np.kron(matrix, matrix)).to(dtype) for matrix in matrices())
    return output, kernel, image


def _onednn() -> Callable[..., Tensor] | None:
    """OneDNN's matrix product x·wᵀ, which torch uses in compiled programs; None without it."""
    count = partial(torch.arange, dtype=torch.float32, device="cpu")  # whatever torch's defaults are now
    try:
        product: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise
        a, b = count(6).view(2, 3), count(12).view(3, 4)
        works = torch.equal(product(a, b.t(), None, "none", [], ""), a @ b)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return None
    return product if works else None


with torch.inference_mode(False):  # or they could not be used outside of that mode
    TRANSFORMS = {dtype: _squares(dtype) for dtype in (torch.float32, torch.float64)}
    """Of output, kernel and image: (16, 36), (36, 9) and (36, 36)."""


ONEDNN = _onednn()


def _onednn_for(a: Tensor, b: Tensor) -> Callable[..., Tensor] | None:
    """OneDNN's product for ordinary float32 tensors; None for those of vmap or a trace."""
    if type(a) is not Tensor or type(b) is not Tensor or a.dtype != torch.float32:
        return None
    wrapped = getattr(torch._C, "_functorch").is_functorch_wrapped_tensor  # noqa: B009, no stub knows it
    return None if wrapped(a) or wrapped(b) else ONEDNN


def transform(weight: Tensor) -> Tensor:
    """G w Gᵀ of a kernel (out, in, 3, 3): (36, out, in)."""
    outputs, inputs = weight.shape[:2]
    flat = weight.reshape(outputs * inputs, 9)
    return _product(TRANSFORMS[weight.dtype][1], flat.T).view(36, outputs, inputs)


class Cut(NamedTuple):
    """How an image is cut: its size, the padding on each side, and the number of tiles."""

    size: tuple[int, int]
    padding: tuple[int, int]

    @property
    def output(self) -> tuple[int, int]:
        """Size of the result."""
        height, width = (n + 2 * p - 2 for n, p in zip(self.size, self.padding, strict=True))
        return height, width

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        rows, columns = (-(-n // STEP) for n in self.output)
        return rows, columns


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product, by oneDNN where it can.

    On processors for which the library behind torch.mm has no kernels this takes half the time.
    """
    product = _onednn_for(a, b)
    return torch.mm(a, b) if product is None else product(a, b.t(), None, "none", [], "")


def _products(a: Tensor, b: Tensor) -> Tensor:
    """The products of 36 pairs of matrices."""
    product = _onednn_for(a, b)
    if product is None:
        return torch.bmm(a, b)
    return torch.stack([product(i, j.t(), None, "none", [], "") for i, j in zip(a.unbind(), b.unbind(), strict=True)])


Span = tuple[slice, slice]
"""Images, and rows of tiles in them."""


def chunks(cut: Cut, count: int) -> list[Span]:
    """Images and rows of tiles to compute at once, few enough for the buffers to stay in caches."""
    rows, columns = cut.tiles
    if rows * columns > TILES:
        step = max(1, TILES // columns)
        pieces = [slice(row, min(row + step, rows)) for row in range(0, rows, step)]
        return [(slice(image, image + 1), piece) for image in range(count) for piece in pieces]
    step = max(1, TILES // (rows * columns))
    return [(slice(image, min(image + step, count)), slice(0, rows)) for image in range(0, count, step)]


@cache
def keep_freed_memory() -> None:
    """Make the C library keep what this frees instead of returning it to the system in each call.

    The library of glibc keeps up to twice the largest block that was freed so far, if that was one
    of at most 32 MB: here is one, whose pages are never touched. Without it, fetching the pages of
    the buffers anew took about a third of the time where it was measured.
    """
    torch.empty(31 << 20, dtype=torch.uint8, device="cpu")


def tiles(x: Tensor, cut: Cut) -> Tensor:
    """The tiles of (N, C, H, W): (6, 6, C, N, rows, columns), a view of the padded image."""
    (rows, columns), (top, left) = cut.tiles, cut.padding
    below, right = STEP * rows + 2 - top - x.shape[2], STEP * columns + 2 - left - x.shape[3]
    padded = F.pad(x, (left, right, top, below))
    return padded.unfold(2, TILE, STEP).unfold(3, TILE, STEP).permute(4, 5, 1, 0, 2, 3)


def part(tiles: Tensor, span: Span) -> Tensor:
    """Some of the tiles."""
    images, rows = span
    return tiles[:, :, :, images, rows]


def transform_image(*tiles: Tensor) -> Tensor:
    """Bᵀ d B of tiles (6, 6, C, …), whose channels follow one another: (36, ΣC, all of them)."""
    channels = [each.shape[2] for each in tiles]
    if len(tiles) == 1:
        flat = tiles[0].reshape(TILE * TILE, -1)
    else:
        joined = tiles[0].new_empty(TILE, TILE, sum(channels), *tiles[0].shape[3:])
        for target, each in zip(joined.split(channels, 2), tiles, strict=True):  # not cat, slow on views as these
            target.copy_(each)
        flat = joined.view(TILE * TILE, -1)
    return _product(TRANSFORMS[flat.dtype][2], flat).view(TILE * TILE, sum(channels), -1)


def empty_result(like: Tensor, channels: int, cut: Cut) -> Tensor:
    """Where ``write_results`` writes: (N, O, H, W), with W up to a whole tile."""
    return like.new_empty(like.shape[0], channels, cut.output[0], STEP * cut.tiles[1])


def write_results(whole: Tensor, span: Span, cut: Cut, u: Tensor, v: Tensor) -> None:
    """Write the results of some tiles, products of a kernel and an image that are transformed."""
    (images, rows), (_, columns) = span, cut.tiles
    y = _product(TRANSFORMS[v.dtype][0], _products(u, v).flatten(1))
    y = y.view(STEP, STEP, u.shape[1], -1, rows.stop - rows.start, columns).permute(0, 3, 2, 4, 5, 1)
    target = whole[images, :, STEP * rows.start : STEP * rows.stop]
    for i in range(min(STEP, target.shape[2])):  # every fourth row, that of the tiles' row i
        lines = target[:, :, i::STEP]
        lines.unflatten(3, (columns, STEP)).copy_(y[i, :, :, : lines.shape[2]])


def convolve_tiles(x: Tensor, u: Tensor, cut: Cut) -> Tensor:
    """Cross-correlate (N, C, H, W) with a transformed kernel (36, O, C)."""
    keep_freed_memory()
    whole, every = empty_result(x, u.shape[1], cut), tiles(x, cut)
    for span in chunks(cut, x.shape[0]):
        write_results(whole, span, cut, u, transform_image(part(every, span)))
    return whole[..., : cut.output[1]].contiguous()


def adjoint(y: Tensor, u: Tensor, cut: Cut) -> Tensor:
    """The transpose of ``convolve_tiles`` as a linear map of its image."""
    output, _, image = TRANSFORMS[y.dtype]
    (rows, columns), channels = cut.tiles, u.shape[2]
    padded = F.pad(y, (0, STEP * columns - y.shape[3], 0, STEP * rows - y.shape[2]))
    cut_up = padded.view(*y.shape[:2], rows, STEP, columns, STEP).permute(3, 5, 1, 0, 2, 4)
    # Tiles overlap by 2: their pixels are added where they meet, one row and column of tiles more.
    whole = y.new_zeros(y.shape[0], channels, STEP * (rows + 1), STEP * (columns + 1))
    cells = whole.view(y.shape[0], channels, rows + 1, STEP, columns + 1, STEP)
    for images, some in chunks(cut, y.shape[0]):
        piece = part(cut_up, (images, some))
        m = _product(output.t(), piece.reshape(STEP * STEP, -1)).view(TILE * TILE, y.shape[1], -1)
        d = _product(image.t(), _products(u.transpose(1, 2), m).flatten(1))
        d = d.view(TILE, TILE, channels, *piece.shape[3:]).permute(3, 2, 4, 0, 5, 1)
        for i, down in ((0, STEP), (1, TILE - STEP)):
            for j, across in ((0, STEP), (1, TILE - STEP)):
                target = cells[images, :, i + some.start : i + some.stop, :down, j : j + columns, :across]
                target += d[:, :, :, STEP * i : STEP * i + down, :, STEP * j : STEP * j + across]
    (height, width), (top, left) = cut.size, cut.padding
    return whole[:, :, top : top + height, left : left + width].contiguous()
