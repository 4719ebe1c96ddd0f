"""The contestants of ``convgru bench`` in MindSpore's graph mode: ours, plain loop, floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import mindspore as ms
import mindspore.ops as mops
import numpy as np
from mindspore import nn

from convgru_mindspore.backend import tensor
from convgru_mindspore.bench_floor import floor
from convgru_mindspore.export import Flat

if TYPE_CHECKING:
    from convgru.bench.contest import Contest, Entry

Tensor = Any
Arrays = Mapping[str, np.ndarray]


def enter(contest: Contest) -> None:
    """Enter convgru's network with each variant of options, the plain loop, and the floor."""
    ms.set_context(mode=ms.GRAPH_MODE)
    for name, options in contest.ours.items():
        contest.enter(name, lambda options=options: _ours(contest, options))  # type: ignore[misc]
    contest.enter("plain loop", lambda: _plain(contest))
    contest.enter("floor", lambda: floor(contest))


def _ours(contest: Contest, options: Mapping[str, Any]) -> Entry:
    net, trained = contest.build(**options), contest.build(**options)
    flat = Flat(trained)
    flat.set_train()
    return _entry(contest, Flat(net), flat, trained.parameters_dict(), lambda gradients: gradients)


def _entry(
    contest: Contest, net: Any, trained: Any, parameters: Mapping[str, Any], named: Callable[[Arrays], Arrays]
) -> Entry:
    """Two networks, of which one infers and one trains, or one.

    They take x and the parts of their state one by one, and return them so.
    """
    parts: list[np.ndarray] = []
    for entry in contest.state or ():
        parts += entry if isinstance(entry, tuple) else [entry]
    x, state, cotangent = tensor(contest.x), [tensor(part) for part in parts], tensor(contest.cotangent)

    def arrays(forward: Any, training: Any) -> Arrays:
        y = np.stack([each[0] for each in forward]) if isinstance(forward, list) else forward
        gradients = {} if training is None else dict(zip(parameters, training, strict=True))
        return {"output": y, **({} if training is None else named(gradients))}

    if contest.workload.streaming:
        return contest.entry(_streaming(contest, net, x), arrays=arrays)
    value_and_grad: Any = ms.value_and_grad
    derive: Any = value_and_grad(Loss(trained, cotangent), None, [*parameters.values()])

    def forward() -> np.ndarray:
        y: np.ndarray = net(x, *state)[0].asnumpy()
        return y

    def training() -> list[np.ndarray]:
        return [gradient.asnumpy() for gradient in derive(x, *state)[1]]

    return contest.entry(forward, training, arrays)


class Loss(nn.Cell):
    """Sum of output times cotangent."""

    def __init__(self, net: Any, cotangent: Tensor) -> None:
        super().__init__()
        self.net, self.cotangent = net, cotangent

    def construct(self, x: Tensor, *state: Tensor) -> Tensor:
        """Run the network."""
        return (self.net(x, *state)[0] * self.cotangent).sum()


def _streaming(contest: Contest, net: Any, x: Tensor) -> Callable[[], list[np.ndarray]]:
    """Frame after frame, each result awaited before the next is asked for."""
    work, frames = contest.workload, [x[t : t + 1] for t in range(contest.workload.time)]
    zeros = [
        tensor(np.zeros((work.batch, hidden, *work.size), np.float32))
        for hidden in work.hidden
        for _ in range(2 if contest.cell == "lstm" else 1)
    ]

    def forward() -> list[np.ndarray]:
        outputs, state = [], zeros
        for frame in frames:
            y, *state = net(frame, *state)
            outputs.append(y.asnumpy())
        return outputs

    return forward


class PlainLoop(nn.Cell):
    """The network as many write it: for each layer and frame a convolution of [x, h], unrolled."""

    def __init__(self, contest: Contest) -> None:
        super().__init__()
        self.lstm = contest.cell == "lstm"
        kind: Any = mops.Conv3D if contest.spec.ndim == 3 else mops.Conv2D
        pads = 6 if contest.spec.ndim == 3 else 4
        self.hidden = [cell.hidden_channels for cell in contest.spec.layers]
        self.convolutions, parameters = [], []
        for index, layer in enumerate(contest.joined()):
            taps = layer["gates"].shape[2:]
            for name in ("gates",) if self.lstm else ("gates", "candidate"):
                rows = len(layer[name])
                self.convolutions.append(kind(rows, taps, pad_mode="pad", pad=(taps[0] // 2,) * pads))
                for key in (name, f"{name}_bias"):
                    shape = layer[key].shape if layer[key].ndim > 1 else (1, rows, *(1,) * contest.spec.ndim)
                    parameters.append(ms.Parameter(tensor(layer[key].reshape(shape)), name=f"{index}.{key}"))
        self.weights = ms.ParameterTuple(parameters)

    def convolve(self, number: int, a: Tensor, b: Tensor) -> Tensor:
        """Convolve [a, b] with the kernel of this number, and add its bias."""
        joined = mops.concat((a, b), 1)
        return self.convolutions[number](joined, self.weights[2 * number]) + self.weights[2 * number + 1]

    def advance(self, index: int, x: Tensor, h: Tensor, c: Tensor) -> Any:
        """One step of one layer."""
        if self.lstm:
            i, f, g, o = mops.split(self.convolve(index, x, h), self.hidden[index], 1)
            c = mops.sigmoid(f) * c + mops.sigmoid(i) * mops.tanh(g)
            return mops.sigmoid(o) * mops.tanh(c), c
        r, z = mops.split(mops.sigmoid(self.convolve(2 * index, x, h)), self.hidden[index], 1)
        n = mops.tanh(self.convolve(2 * index + 1, x, r * h))
        return z * h + (1 - z) * n, c

    def construct(self, x: Tensor, *state: Tensor) -> Any:
        """Run layer by layer; output and the parts of the final state."""
        frames = []
        for t in range(x.shape[0]):
            frames.append(x[t])
        final: tuple[Tensor, ...] = ()
        for index in range(len(self.hidden)):
            h = mops.zeros((x.shape[1], self.hidden[index], *x.shape[3:]), x.dtype)
            c = h
            if len(state) > 0:
                h = state[2 * index] if self.lstm else state[index]
                c = state[2 * index + 1] if self.lstm else h
            outputs = []
            for frame in frames:
                h, c = self.advance(index, frame, h, c)
                outputs.append(h)
            frames = outputs
            final = (*final, h, c) if self.lstm else (*final, h)
        return (mops.stack(frames), *final)


def _plain(contest: Contest) -> Entry:
    net = PlainLoop(contest)
    parameters = {parameter.name: parameter for parameter in net.weights}

    def named(gradients: Arrays) -> Arrays:
        layers: list[dict[str, np.ndarray]] = [{} for _ in contest.spec.layers]
        for name, gradient in gradients.items():
            index, _, key = name.partition(".")
            layers[int(index)][key] = gradient.ravel() if key.endswith("_bias") else gradient
        return contest.separated(layers)

    return _entry(contest, net, net, parameters, named)
