"""The floor of ``convgru bench`` in PyTorch: the convolutions that no implementation can avoid.

Forward the convolution of the input, over several frames at once, and those of the state, step by
step. In training also the gradient of each step's state, the gradient of a layer's input for all
layers but the first, and the gradients of the weights, the last two over several frames at once.
The numbers are any: nothing is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from convgru_torch.bench_cuda import Place, sampler

if TYPE_CHECKING:
    from convgru.bench.contest import Contest, Entry

NATIVE: Any = getattr(torch._C, "_nn")  # noqa: B009, no stub knows it
CHUNK = 8_000_000
"""Bytes of gates to convolve the input of at once: larger results are slower to allocate."""
CHUNK_GPU = 1 << 30
"""The same on a GPU, which has room for more."""
Call = Callable[[], Any]


@dataclass(frozen=True)
class Layer:
    """One layer's convolutions: chunks of input, state and gates, the kernels, and how they run."""

    x: Tensor
    h: Tensor
    gates: Tensor
    weight_ih: Tensor
    recurrent: list[tuple[Tensor, Tensor]]  # a kernel, and a gradient of what it makes
    chunks: int  # of frames in the sequence
    batch: int
    pad: tuple[int, ...]

    def forward(self, convolve: Callable[..., Tensor]) -> None:
        """Convolve each chunk of the input, and each frame's state with each kernel."""
        for _ in range(self.chunks):
            convolve(self.x, self.weight_ih)
            for h in self.h.split(self.batch):
                for kernel, _ in self.recurrent:
                    convolve(h, kernel)

    def backward(self, first: bool) -> None:
        """Gradient of each step's state; by chunks the gradients of input and weights."""
        for _ in range(self.chunks):
            for h in self.h.split(self.batch):
                for kernel, gradient in self.recurrent:
                    self.differentiate(gradient[: self.batch], h, kernel, (True, False, False))
            for kernel, gradient in self.recurrent:
                self.differentiate(gradient, self.h, kernel, (False, True, False))
            self.differentiate(self.gates, self.x, self.weight_ih, (not first, True, False))

    def differentiate(self, gradient: Tensor, image: Tensor, kernel: Tensor, mask: tuple[bool, bool, bool]) -> None:
        """Run the backward convolutions that the mask asks for: of image, kernel, bias."""
        one, none = [1] * len(self.pad), [0] * len(self.pad)
        torch.ops.aten.convolution_backward(
            gradient, image, kernel, None, one, list(self.pad), one, False, none, 1, list(mask)
        )


def floor(contest: Contest) -> Entry:
    """Enter the fastest of the layouts, chunks and primitives that this build of torch has."""
    gpu = contest.device != "cpu"
    packed = not gpu and contest.precision == "float32"
    with torch.no_grad():
        forward = _fastest([partial(_forward, layers, convolve) for layers, convolve in _ways(contest, packed)], gpu)
        if contest.workload.streaming:
            return contest.entry(forward)
        plain = [layers for layers, _ in _ways(contest, packed=False)]
        return contest.entry(forward, _fastest([partial(_training, layers) for layers in plain], gpu))


def _fastest(calls: list[Call], gpu: bool = False) -> Call:
    """The call that takes the least time, each called twice, of which the second counts."""
    if len(calls) == 1:
        return calls[0]

    def seconds(call: Call) -> float:
        call()
        if gpu:
            return sampler()(call, 3)
        begin = perf_counter()
        call()
        return perf_counter() - begin

    return min(calls, key=seconds)


def _forward(layers: list[Layer], convolve: Callable[..., Any]) -> None:
    with torch.no_grad():
        for layer in layers:
            layer.forward(partial(convolve, layer))


def _training(layers: list[Layer]) -> None:
    with torch.no_grad():
        for index, layer in enumerate(layers):
            layer.forward(partial(_convolve, layer))
            layer.backward(index == 0)


def _convolve(layer: Layer, image: Tensor, kernel: Tensor) -> Tensor:
    function = nn.functional.conv3d if len(layer.pad) == 3 else nn.functional.conv2d
    return function(image, kernel, padding=layer.pad)


def _convolve_packed(layer: Layer, image: Tensor, kernel: Tensor) -> Tensor:
    ones = [1] * len(layer.pad)
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        image, kernel, None, list(layer.pad), ones, ones, 1, "none", [], ""
    )
    return result


def _ways(contest: Contest, packed: bool = True) -> Iterator[tuple[list[Layer], Callable[..., Any]]]:
    """The layers in each layout and, if wanted, with oneDNN's packed kernels where it has them."""
    dense = torch.channels_last_3d if contest.spec.ndim == 3 else torch.channels_last
    for layout in (torch.contiguous_format, dense):
        layers = _layers(contest, layout)
        yield layers, _convolve
        if packed and contest.spec.ndim == 2 and hasattr(NATIVE, "mkldnn_reorder_conv2d_weight"):
            yield [_packed(layer) for layer in layers], _convolve_packed


def _packed(layer: Layer) -> Layer:
    """The layer with kernels in the layout that oneDNN computes with."""

    def pack(kernel: Tensor, image: Tensor) -> Tensor:
        ones = [1] * len(layer.pad)
        reorder: Any = NATIVE.mkldnn_reorder_conv2d_weight
        packed: Tensor = reorder(kernel.to_mkldnn(), list(layer.pad), ones, ones, 1, list(image.shape))
        return packed

    h = layer.h[: layer.batch]
    recurrent = [(pack(kernel, h), gradient) for kernel, gradient in layer.recurrent]
    return Layer(**{**vars(layer), "weight_ih": pack(layer.weight_ih, layer.x), "recurrent": recurrent})


def _layers(contest: Contest, layout: torch.memory_format) -> list[Layer]:
    work, layers = contest.workload, []
    random = Place(contest.device, torch.bfloat16 if contest.precision == "bfloat16" else torch.float32).random
    for cell in contest.spec.layers:
        hidden = cell.hidden_channels
        parts = (4 * hidden,) if cell.cell == "lstm" else (2 * hidden, hidden)
        frame = work.batch * sum(parts) * prod(work.size) * 4
        fits = [
            n
            for n in range(1, work.time + 1)
            if work.time % n == 0 and n * frame <= (CHUNK if contest.device == "cpu" else CHUNK_GPU)
        ]
        frames = 1 if work.streaming else max(fits, default=1)

        def image(channels: int, frames: int = frames) -> Tensor:
            return random(frames * work.batch, channels, *work.size).contiguous(memory_format=layout)

        def kernel(rows: int, channels: int, taps: tuple[int, ...] = cell.kernel_size) -> Tensor:
            return random(rows, channels, *taps).contiguous(memory_format=layout)

        recurrent = [(kernel(rows, hidden), image(rows)) for rows in parts]
        pad = tuple(taps // 2 for taps in cell.kernel_size)
        whole = image(sum(parts))
        x, weight_ih = image(cell.in_channels), kernel(sum(parts), cell.in_channels)
        chunks = work.time // frames
        layers.append(Layer(x, image(hidden), whole, weight_ih, recurrent, chunks, work.batch, pad))
    return layers
