"""The floor of ``convgru bench`` in MindSpore: the convolutions that nobody can avoid.

Forward the convolution of the input over all frames at once, and those of the state step by step.
In training also the gradient of each step's state, the gradient of a layer's input for all layers
but the first, and the gradients of the weights, the last two over all frames at once. The numbers
are any. The primitives are Conv2D and Conv3D in one graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mindspore.ops as mops
import numpy as np
from mindspore import nn

from convgru_mindspore.backend import tensor

if TYPE_CHECKING:
    from convgru.bench.contest import Contest, Entry

Tensor = Any


class OfImage(nn.Cell):
    """A convolution as a function of its image, then its kernel."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.convolution = convolution

    def construct(self, image: Tensor, kernel: Tensor) -> Tensor:
        """Convolve."""
        return self.convolution(image, kernel)


class OfKernel(nn.Cell):
    """A convolution as a function of its kernel, then its image."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.convolution = convolution

    def construct(self, kernel: Tensor, image: Tensor) -> Tensor:
        """Convolve."""
        return self.convolution(image, kernel)


class Convolutions(nn.Cell):
    """The convolutions of one layer, and with ``training`` those of its gradients.

    Args:
        convolutions: of the input, then of the state.
        training: whether to derive too.
        first: whether the input needs no gradient.
        batch: samples in a frame.
    """

    def __init__(self, convolutions: list[Any], training: bool, first: bool, batch: int) -> None:
        super().__init__()
        self.training_too, self.first, self.batch = training, first, batch
        self.of_image: Any = nn.CellList([OfImage(convolution) for convolution in convolutions])
        self.of_kernel = nn.CellList([OfKernel(convolution) for convolution in convolutions])
        self.count = len(convolutions)
        self.derive = mops.GradOperation(sens_param=True)

    def construct(self, x: Tensor, h: Tensor, *tensors: Tensor) -> Any:
        """Run them; one number of each result, so that they are computed and nothing else is.

        ``tensors`` are the kernels and, for training, a gradient of what each of them makes.
        """
        kernels, gradients = tensors[: self.count], tensors[self.count :]
        results = [self.of_image[0](x, kernels[0]).reshape(-1)[0]]
        for start in range(0, h.shape[0], self.batch):
            part = h[start : start + self.batch]
            for index in range(1, len(kernels)):
                results.append(self.of_image[index](part, kernels[index]).reshape(-1)[0])
                if self.training_too:
                    gradient = gradients[index][start : start + self.batch]
                    back = self.derive(self.of_image[index])(part, kernels[index], gradient)
                    results.append(back.reshape(-1)[0])
        if self.training_too:
            results.append(self.derive(self.of_kernel[0])(kernels[0], x, gradients[0]).reshape(-1)[0])
            for index in range(1, len(kernels)):
                results.append(self.derive(self.of_kernel[index])(kernels[index], h, gradients[index]).reshape(-1)[0])
            if not self.first:
                results.append(self.derive(self.of_image[0])(x, kernels[0], gradients[0]).reshape(-1)[0])
        return mops.stack(results)


def floor(contest: Contest) -> Entry:
    """Enter the convolutions of all layers."""
    work = contest.workload
    forward = _layers(contest, False, 1 if work.streaming else work.time)
    if work.streaming:
        return contest.entry(lambda: [_run(layer) for _ in range(work.time) for layer in forward])
    training = _layers(contest, True, work.time)
    return contest.entry(lambda: [_run(layer) for layer in forward], lambda: [_run(layer) for layer in training])


def _run(layer: tuple[Any, ...]) -> np.ndarray:
    net, *arguments = layer
    result: np.ndarray = net(*arguments).asnumpy()
    return result


def _layers(contest: Contest, training: bool, frames: int) -> list[tuple[Any, ...]]:
    """Each layer's cell and its arguments: input, states, kernels, gradients of what they make."""
    work, layers = contest.workload, []
    kind: Any = mops.Conv3D if contest.spec.ndim == 3 else mops.Conv2D
    pads = 6 if contest.spec.ndim == 3 else 4

    def ones(*shape: int) -> Tensor:
        return tensor(np.ones(shape, np.float32))

    for index, cell in enumerate(contest.spec.layers):
        hidden, taps = cell.hidden_channels, cell.kernel_size
        parts = (4 * hidden,) if cell.cell == "lstm" else (2 * hidden, hidden)
        rows, channels = (sum(parts), *parts), (cell.in_channels, *[hidden] * len(parts))
        convolutions = [kind(r, taps, pad_mode="pad", pad=(taps[0] // 2,) * pads) for r in rows]
        kernels = tuple(ones(r, c, *taps) for r, c in zip(rows, channels, strict=True))
        count = frames * work.batch
        gradients = tuple(ones(count, r, *work.size) for r in rows) if training else ()
        images = (ones(count, cell.in_channels, *work.size), ones(count, hidden, *work.size))
        net = Convolutions(convolutions, training, index == 0, work.batch)
        layers.append((net, *images, *kernels, *gradients))
    return layers
