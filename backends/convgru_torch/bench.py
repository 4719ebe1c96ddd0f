"""The contestants of ``convgru bench`` in PyTorch: ours, the plain loop, Keras, the floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from convgru.spec import NetworkSpec
from convgru_torch import bench_cuda
from convgru_torch.bench_cuda import Place
from convgru_torch.bench_floor import floor
from convgru_torch.numpy_bridge import to_numpy, to_tensor

if TYPE_CHECKING:
    from convgru.bench.contest import Contest, Entry

State = Any


def enter(contest: Contest) -> None:
    """Enter convgru's network with each variant of options, its rivals, and the floor."""
    where = _where(contest)
    if (contest.device, contest.precision) != ("cpu", "float32"):
        contest.versions |= bench_cuda.facts(where)
    for name, options in contest.ours.items():
        contest.enter(name, lambda options=options: _ours(contest, options))  # type: ignore[misc]
    contest.enter("plain loop", lambda: _plain(contest, None))
    if contest.compiled:
        contest.enter("compiled plain loop", lambda: _plain(contest, "reduce-overhead" if where.on_gpu else "default"))
    contest.enter("keras", lambda: _keras(contest))
    contest.enter("floor", lambda: floor(contest))


def sampler(contest: Contest) -> Callable[[Callable[[], Any], int], float]:
    """What times the contestants where they do not compute on the CPU."""
    return bench_cuda.sampler()


def _where(contest: Contest) -> Place:
    if (contest.device, contest.precision) == ("cpu", "float32"):
        return Place("cpu", torch.float32)
    return bench_cuda.place(contest.device, contest.precision)


def _ours(contest: Contest, options: Mapping[str, Any]) -> Entry:
    where = _where(contest)
    return _entry(contest, contest.build(**options).to(where.device, where.dtype), _canonical)


def _entry(
    contest: Contest, net: Any, gradients: Callable[[Contest, Any], Mapping[str, np.ndarray]], overwritten: bool = False
) -> Entry:
    """A network that is called as convgru's are, on the contest's numbers.

    Args:
        overwritten: whether a call overwrites the results of the one before, as those of
            torch.compile's CUDA graphs do: what is compared is then computed anew.
    """
    where = _where(contest)
    x, cotangent = (where.put(to_tensor(a)) for a in (contest.x, contest.cotangent))
    state = None if contest.state is None else tuple(where.put(to_tensor(a)) for a in contest.state)

    def forward() -> Tensor | list[Tensor]:
        with torch.no_grad():
            if not contest.workload.streaming:
                y: Tensor = net(x, state)[0]
                return y
            outputs, carried = [], state
            for frame in x:
                y, carried = net.step(frame, carried)
                outputs.append(y)
            return outputs

    def training() -> None:
        net.zero_grad(set_to_none=True)
        net(x, state)[0].backward(cotangent)

    def arrays(outputs: Any, training: Any) -> dict[str, np.ndarray]:
        found = {} if contest.workload.streaming else dict(gradients(contest, net))
        outputs = forward() if overwritten else outputs
        y = torch.stack(outputs) if isinstance(outputs, list) else outputs
        return {"output": to_numpy(y.float()), **found}

    peak = bench_cuda.peak({"forward": forward, "training": training}) if where.on_gpu else None
    if contest.workload.streaming:
        return contest.entry(forward, arrays=arrays, peak_bytes=peak)

    def saved() -> int:
        return saved_bytes(net, lambda: net(x, state)[0], (x, state))

    return contest.entry(forward, training, arrays, None if overwritten else saved, peak)


def saved_bytes(net: nn.Module, call: Callable[[], Tensor], given: Any) -> int:
    """Count the bytes that autograd keeps for the backward pass, parameters and input aside."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *_tensors(given))}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = call()
    del y
    return sum(kept.values())


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, tuple):
        return [tensor for each in value for tensor in _tensors(each)]
    return [] if value is None else [value]


def _canonical(contest: Contest, net: Any) -> dict[str, np.ndarray]:
    return {name: to_numpy(p.grad.float()) for name, p in net.named_parameters()}


class PlainLoop(nn.Module):
    """The network as older systems run it: for each layer and frame a convolution of [x, h]."""

    def __init__(self, spec: NetworkSpec, layers: list[dict[str, np.ndarray]]) -> None:
        super().__init__()
        self.convolve = nn.functional.conv3d if spec.ndim == 3 else nn.functional.conv2d
        self.cell, self.pads = spec.cell, [cell.kernel_size[0] // 2 for cell in spec.layers]
        parameters = ({name: nn.Parameter(to_tensor(a)) for name, a in layer.items()} for layer in layers)
        self.layers = nn.ModuleList(nn.ParameterDict(each) for each in parameters)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run layer by layer over a sequence (T, B, C, *S)."""
        final = []
        for index in range(len(self.layers)):
            carried, outputs = None if state is None else state[index], []
            for frame in x.unbind():
                carried = self.advance(index, frame, carried)
                outputs.append(carried[0] if self.cell == "lstm" else carried)
            x = torch.stack(outputs)
            final.append(carried)
        return x, tuple(final)

    def step(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Take one frame (B, C, *S) through all layers."""
        final = []
        for index in range(len(self.layers)):
            final.append(self.advance(index, x, None if state is None else state[index]))
            x = final[-1][0] if self.cell == "lstm" else final[-1]
        return x, tuple(final)

    def advance(self, index: int, x: Tensor, state: State) -> State:
        """One step of one layer: h, or (h, c)."""
        p: Any = self.layers[index]
        pad, hidden = self.pads[index], p["gates"].shape[0] // (4 if self.cell == "lstm" else 2)
        if state is None:
            zeros = x.new_zeros(x.shape[0], hidden, *x.shape[2:])
            state = (zeros, zeros) if self.cell == "lstm" else zeros
        if self.cell == "lstm":
            h, c = state
            i, f, g, o = self.convolve(torch.cat([x, h], 1), p["gates"], p["gates_bias"], padding=pad).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c
        h = state
        gates = self.convolve(torch.cat([x, h], 1), p["gates"], p["gates_bias"], padding=pad)
        r, z = torch.sigmoid(gates).chunk(2, 1)
        n = self.convolve(torch.cat([x, r * h], 1), p["candidate"], p["candidate_bias"], padding=pad)
        return z * h + (1 - z) * torch.tanh(n)


def _plain(contest: Contest, mode: str | None) -> Entry:
    """The plain loop, compiled in a mode of torch.compile, or not."""
    where = _where(contest)
    net = PlainLoop(contest.spec, contest.joined()).to(where.device, where.dtype)

    def gradients(contest: Contest, wrapped: Any) -> Mapping[str, np.ndarray]:
        layers = [{name: to_numpy(p.grad.float()) for name, p in layer.items()} for layer in net.layers]  # type: ignore[operator]
        return contest.separated(layers)

    if mode is None:
        return _entry(contest, net, gradients)
    compiled: Any = torch.compile(net, mode=mode)
    advance = torch.compile(net.step, mode=mode)

    def step(x: Tensor, state: State) -> tuple[Tensor, State]:
        """A step whose results live on: those of CUDA graphs are overwritten by the next one."""
        y, carried = advance(x, state)
        kept = tuple(tuple(p.clone() for p in e) if isinstance(e, tuple) else e.clone() for e in carried)
        return y.clone(), kept

    compiled.step = step if where.on_gpu else advance
    return _entry(contest, compiled, gradients, overwritten=where.on_gpu)


def _keras(contest: Contest) -> Entry:
    """Keras' own layers on PyTorch. Raises ImportError, ValueError where there are none."""
    if (contest.device, contest.precision) != ("cpu", "float32"):
        raise ValueError("Keras is timed on the CPU in float32 alone")
    layers = contest.keras_layers()
    x, cotangent = (to_tensor(contest.channels_last(a)) for a in (contest.x, contest.cotangent))
    for index, layer in enumerate(layers):
        layer.set_weights(contest.keras_weights(index))
    variables = [variable.value for layer in layers for variable in layer.trainable_variables]

    def run() -> Tensor:
        y: Tensor = x
        for layer in layers:
            y = layer(y)
        return y

    def forward() -> Tensor:
        with torch.no_grad():
            return run()

    def training() -> None:
        for variable in variables:
            variable.grad = None
        run().backward(cotangent)

    def arrays(forward: Any, training: Any) -> dict[str, np.ndarray]:
        gradients = contest.from_keras([to_numpy(variable.grad) for variable in variables])
        return {"output": contest.channels_first(to_numpy(forward)), **gradients}

    return contest.entry(forward, training, arrays)
