"""MindSpore as a backend: build, extract, load, execute, and the devices and versions in use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from convgru.calls import Extras
from convgru.errors import UnsupportedError
from convgru.spec import ForecasterSpec, NetworkSpec
from convgru.spec.shapes import layer_prefix, nest_state, parameter_shapes, state_leaves
from convgru.weights import Weights, check_ties
from convgru_mindspore import cpu_setup
from convgru_mindspore.cells import CELLS, Cell
from convgru_mindspore.compat import pytorch_convgru
from convgru_mindspore.export import Flat
from convgru_mindspore.forecaster import Forecaster
from convgru_mindspore.layers import Direction
from convgru_mindspore.stack_base import Stack
from convgru_mindspore.stacks import STACKS

DROP_INS = (pytorch_convgru.ConvGRU, pytorch_convgru.ConvGRUCell)
NO_GPU = (
    "MindSpore runs on cpu here: the CUDA plugin of its wheels is built for CUDA 11, which present GPUs and drivers have "
    "left behind; use PyTorch or JAX for the GPU"
)


def versions() -> dict[str, str]:
    """Versions of MindSpore and NumPy."""
    return {"mindspore": ms.__version__, "numpy": np.__version__}


def devices() -> dict[str, str]:
    """The devices that MindSpore computes on here: the CPU alone."""
    return {"cpu": f"CPU through oneDNN. {NO_GPU}"}


def notes() -> list[str]:
    """CPU setup, mode, accuracy, and why there is no GPU."""
    return [
        *cpu_setup.NOTES,
        f"mode: {mode()}; convolutions: oneDNN in float32 and float16, matrix products tap by tap in float64",
        "float32 sigmoid and tanh to 1.2e-7 and 1.8e-7: MindSpore's own ones are off by 8e-7 and 1e-4",
        "bfloat16 does not compute on CPU",
        NO_GPU,
    ]


def mode() -> str:
    """The mode of MindSpore's context: ``graph`` or ``PyNative``."""
    return "graph" if ms.get_context("mode") == ms.GRAPH_MODE else "PyNative"


def owns(net: object) -> bool:
    """Whether ``net`` is a module of this package, or one of its drop-ins."""
    return isinstance(net, (Cell, Direction, Stack, Forecaster, *DROP_INS))


def build(
    weights: Weights, *, batch_first: bool = False, cell: bool = False, device: str = "cpu", impl: str = "auto"
) -> Any:
    """Make a ConvGRU, ConvLSTM, ConvRNN or Forecaster with these weights, in evaluation mode.

    Args:
        weights: spec and arrays; the parameters get their dtype and bytes.
        batch_first: sequences are (B, T, C, *S) instead of (T, B, C, *S).
        cell: make a bare cell (ConvGRUCell …) of a network of one layer in one direction.
        device: where it computes: "cpu", the only one there is.
        impl: ``auto``, ``readable`` or ``fast``: how the loop over time runs in a graph.

    Raises:
        UnsupportedError: for bfloat16, which does not compute on CPU, and for another device.
        ValueError: for ``cell=True`` with a network that is more than a cell, or with options that
            a cell does not have.
    """
    _check_device(device)
    spec = weights.spec
    if cell:
        if batch_first:
            raise ValueError(
                'convgru.build(..., "mindspore", cell=True) has no batch_first: a cell takes one frame a call'
            )
        if impl != "auto":
            raise ValueError('convgru.build(..., "mindspore", cell=True) has no impl: a cell takes one frame a call')
        if isinstance(spec, ForecasterSpec) or spec != NetworkSpec(spec.layers[:1]):
            raise ValueError(
                f'convgru.build(..., "mindspore", cell=True) expected a network of one layer in one direction, without '
                f"dropout or zoneout, which a cell does not have, got {spec}"
            )
        return CELLS[spec.cell].from_spec(spec, weights=weights)
    if isinstance(spec, ForecasterSpec):
        return Forecaster.from_spec(spec, weights=weights, batch_first=batch_first, impl=impl)
    return STACKS[spec.cell].from_spec(spec, weights=weights, batch_first=batch_first, impl=impl)


def _check_device(device: str) -> None:
    """Raise UnsupportedError unless MindSpore computes on this device."""
    if device != "cpu":
        raise UnsupportedError(f"MindSpore does not compute on {device!r}. {NO_GPU}")


def extract(net: Any) -> Weights:
    """The weights of a module of this package, copied byte for byte.

    A bare cell, or one direction of a layer, gives a network of one layer.
    """
    if isinstance(net, DROP_INS):
        return Weights(net.spec, net.exact_arrays())
    if not owns(net):
        raise TypeError(f"expected a module of convgru.mindspore, got {type(net).__module__}.{type(net).__qualname__}")
    prefix = layer_prefix(0) if isinstance(net, (Cell, Direction)) else ""
    arrays = {prefix + name: np.array(p.asnumpy(), copy=True) for name, p in _named(net)}
    return Weights(net.spec, arrays)


def load(net: Any, weights: Weights) -> None:
    """Copy weights into a module's parameters in place, all of them or none.

    Raises TypeError for a drop-in, whose parameters are those of the original, WeightsError for
    weights of another spec, dtype or shape, and for two arrays that differ of a parameter that two
    layers share.
    """
    name = type(net).__name__
    if isinstance(net, DROP_INS):
        raise TypeError(f"load expected a module of convgru.mindspore, got the drop-in {name}: load its own parameters")
    prefix = layer_prefix(0) if isinstance(net, (Cell, Direction)) else ""
    parameters = {prefix + short: parameter for short, parameter in _named(net)}
    held = {n: (tuple(p.shape), str(p.dtype).lower()) for n, p in parameters.items()}
    weights.check_fit(name, net.spec, held)
    check_ties(name, parameters, weights)
    tensors = {n: tensor(array) for n, array in weights.arrays.items()}
    for n, value in tensors.items():
        parameters[n].set_data(value)


def _named(cell: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every parameter by name, a shared one under each of its names.

    ``parameters_and_names`` yields it under the first alone.
    """
    for name, parameter in cell._params.items():
        if parameter is not None:
            yield prefix + name, parameter
    for name, part in cell._cells.items():
        if part is not None:
            yield from _named(part, f"{prefix}{name}.")


def execute(
    weights: Weights,
    x: np.ndarray,
    state: Any = None,
    *,
    steps: int | None = None,
    extras: Extras | None = None,
    cotangents: tuple[np.ndarray, Any] | None = None,
    device: str = "cpu",
) -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
    """Run the public module on arrays of the weights' dtype; see ``registry.Backend``.

    Returns output, final state and gradients.
    """
    _check_device(device)
    net, spec = build(weights), weights.spec
    extras = Extras() if extras is None else extras
    leaves = {} if state is None else dict(state_leaves(spec, state))
    tensors = {name: tensor(array) for name, array in {"x": x, **leaves, **extras.leaves()}.items()}
    others = {"seq_length": extras.lengths, "targets": extras.targets, "forced": extras.forced}
    given = {name: tensor(array) for name, array in others.items() if array is not None}
    if extras.masks is not None:
        given["masks"] = {name: tensor(array) for name, array in extras.masks.items()}
    with _synchronous():
        if cotangents is not None:
            return _differentiate(net, steps, tensors, given, cotangents, extras.resume)
        if extras.resume:
            given["resume"] = True
        if extras.context is not None:
            given["context"] = tuple(tensors[name] for name in extras.leaves())
        start = nest_state(spec, tensors) if leaves else None
        y, final = net(tensors["x"], start, **given) if steps is None else net(tensors["x"], steps, start, **given)
        return (*_to_numpy(spec, y, final), {})


@contextlib.contextmanager
def _synchronous() -> Iterator[None]:
    """Run operators as they are called: small networks then take a quarter less processor time."""
    before = ms.get_context("pynative_synchronize")
    ms.set_context(pynative_synchronize=True)
    try:
        yield
    finally:
        ms.set_context(pynative_synchronize=before)
        cpu_setup.give_back_interrupts()


def _differentiate(
    net: Any,
    steps: int | None,
    tensors: dict[str, Any],
    given: dict[str, Any],
    cotangents: tuple[np.ndarray, Any],
    resume: bool,
) -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
    """Output, final state and gradients with respect to ``tensors`` and parameters.

    Through ``Flat``: MindSpore counts the leaves of nested states twice.
    """
    spec, dtype = net.spec, net.dtype
    weighing = [cotangents[0], *(part for _, part in state_leaves(spec, cotangents[1]))]
    masks = given.pop("masks", None)
    also = (*(("context",) if "context.0" in tensors else ()), *given)
    loss = _Loss(
        Flat(net, steps, also=also, masks=masks, resume=resume), [tensor(part).astype(dtype) for part in weighing]
    )
    parameters = dict(net.parameters_and_names())
    positions: Any = tuple(range(len(tensors)))
    derive: Any = ms.value_and_grad(loss, positions, tuple(parameters.values()), has_aux=True)
    (_, *results), (inputs, rest) = derive(*tensors.values(), *given.values())
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    found = {**dict(zip(tensors, inputs, strict=True)), **dict(zip(parameters, rest, strict=True))}
    named = dict(zip((name for name, _ in state_leaves(spec, cotangents[1])), results[1:], strict=True))
    y, final = _to_numpy(spec, results[0], nest_state(spec, named))
    expected = [*tensors, *parameter_shapes(spec)]
    return y, final, {name: np.array(found[name].asnumpy(), copy=True) for name in expected}


class _Loss(nn.Cell):
    """Sum of results times cotangents, and the results."""

    def __init__(self, net: Any, weighing: list[Any]) -> None:
        super().__init__()
        self.net, self.weighing = net, tuple(weighing)

    def construct(self, *flat: Any) -> Any:
        results = self.net(*flat)
        total = (results[0] * self.weighing[0]).sum()
        for index in range(1, len(results)):
            total = total + (results[index] * self.weighing[index]).sum()
        return (total, *results)


def tensor(array: np.ndarray) -> Any:
    """A MindSpore tensor that holds a copy of the array. Raises UnsupportedError for bfloat16."""
    array = np.asarray(array)
    if str(array.dtype) == "bfloat16":
        raise UnsupportedError("MindSpore does not compute in bfloat16 on CPU: use float32, float16 or float64")
    return ms.Tensor(np.array(array, order="C", copy=True))


def _to_numpy(spec: Any, y: Any, final: Any) -> tuple[np.ndarray, Any]:
    leaves = {name: np.array(part.asnumpy(), copy=True) for name, part in state_leaves(spec, final)}
    return np.array(y.asnumpy(), copy=True), nest_state(spec, leaves)


def precise() -> Any:
    """A context for exact float32 arithmetic: on CPU nothing needs to change."""
    return contextlib.nullcontext()
