"""The PyTorch backend: implements ``convgru.registry.Backend``."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from convgru.calls import Extras
from convgru.errors import UnsupportedError, WeightsError
from convgru.formats.contents import unwrapped as name_inside
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.options import refuse_build_options
from convgru.spec.shapes import layer_prefix, nest_state, state_leaves
from convgru.weights import Weights, check_ties
from convgru_torch.accelerator.pointwise import why_not_triton
from convgru_torch.cell_base import Cell
from convgru_torch.cells import ConvGRUCell, ConvLSTMCell, ConvRNNCell
from convgru_torch.compat.base import DropIn
from convgru_torch.execution import Execution, ExecutionOptions
from convgru_torch.forecaster import Forecaster
from convgru_torch.implementations import IMPLEMENTATIONS
from convgru_torch.layers import Layer
from convgru_torch.numpy_bridge import TORCH_DTYPES, to_numpy, to_tensor
from convgru_torch.parameters import LayerModule, SpecModule
from convgru_torch.parametrized import compute_hooked_weights, evaluation
from convgru_torch.precision import precise, tf32
from convgru_torch.stacks import STACKS

if TYPE_CHECKING:
    from typing import Unpack  # new in 3.11; the room itself also runs on 3.10

__all__ = ["build", "devices", "evaluate", "execute", "extract", "load", "notes", "owns", "precise", "versions"]

CELLS: dict[str, type[Cell]] = {"gru": ConvGRUCell, "lstm": ConvLSTMCell, "rnn": ConvRNNCell}
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
"""Classes that hold the module they wrap as ``module``."""
WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module")
"""Where torch.compile and checkpoint_wrapper hold theirs."""


def versions() -> dict[str, str]:
    """Return the versions of torch, and of CUDA and cuDNN where this build has them."""
    names = {"torch": str(torch.__version__)}
    if torch.version.cuda is not None:
        names |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return names


def devices() -> dict[str, str]:
    """Return the CPU and each CUDA GPU, with a description."""
    names = {"cpu": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            names[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    return names


def notes() -> list[str]:
    """Describe the implementation that would run here, one line for each aspect."""
    lines = [f"implementation {name}: {each.summary}" for name, each in IMPLEMENTATIONS.items()]
    if torch.cuda.is_available():
        states = (f"{name} {'may run in TF32' if on else 'full float32'}" for name, on in tf32().items())
        lines.append(f"float32 on CUDA: {', '.join(states)}")
    reason = why_not_triton("cuda")
    lines.append(f"gates on CUDA: {'kernels of Triton' if reason is None else f'operations of torch, for {reason}'}")
    onednn = torch.backends.mkldnn.is_available()
    lines.append(f"convolutions on the CPU: {'oneDNN' if onednn else 'without oneDNN, slow'}")
    return lines


def owns(net: object) -> bool:
    """Whether ``net``, without its wrappers (``unwrapped``), is one of our modules or drop-ins."""
    return isinstance(unwrapped(net), (SpecModule, DropIn))


def unwrapped(net: Any) -> Any:
    """Remove wrappers: torch.compile, DataParallel, DDP, AveragedModel and checkpoint_wrapper."""
    while isinstance(net, nn.Module):
        inside = (getattr(net, name, None) for name in WRAPPED)
        inner = net.module if isinstance(net, WRAPPERS) else next(filter(None, inside), None)
        if inner is None:
            break
        net = inner
    return net


def module_of(spec: Spec, **options: Any) -> Any:
    """Make the module that a spec describes, with new parameters."""
    if isinstance(spec, ForecasterSpec):
        return Forecaster.from_spec(spec, **options)
    return STACKS[spec.cell].from_spec(spec, **options)


def build(
    weights: Weights,
    *,
    batch_first: bool = False,
    cell: bool = False,
    device: Any = None,
    **execution: Unpack[ExecutionOptions],
) -> Any:
    """Make a ConvGRU, ConvLSTM, ConvRNN or Forecaster with these weights, in training mode.

    Draws no random numbers: the module is made on the meta device and gets copies of the arrays.

    Args:
        weights: spec and arrays; the parameters get their dtype and bytes.
        batch_first: sequences are (B, T, C, *S) instead of (T, B, C, *S).
        cell: make a bare cell (ConvGRUCell …) of a network of one layer in one direction.
        device: of the parameters; None means torch's default.
        execution: how to compute, ``impl="readable"`` for example (``Execution``).

    Raises:
        UnsupportedError: for a device that is not there.
        ValueError: for ``cell=True`` with a network that is more than a cell.
    """
    refuse_build_options("torch", execution, ["batch_first", "cell", "device", *Execution.__dataclass_fields__])
    options: dict[str, Any] = {"device": "meta", "dtype": TORCH_DTYPES[str(weights.dtype)], **execution}
    net = (_cell if cell else module_of)(weights.spec, batch_first=batch_first, **options)
    target = torch.get_default_device() if device is None else device
    try:
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError):  # torch's two ways to say so
        raise _no_device(target) from None
    prefix = layer_prefix(0) if cell else ""
    state = {name.removeprefix(prefix): to_tensor(array, target) for name, array in weights.arrays.items()}
    net.load_state_dict(state, strict=True, assign=True)
    return net


def _no_device(device: object) -> UnsupportedError:
    return UnsupportedError(f"PyTorch has no device {str(device)!r} here: only {', '.join(devices())}")


def _cell(spec: Spec, *, batch_first: bool, **options: Any) -> Any:
    """Make the bare cell that a network of one layer consists of."""
    if batch_first:
        raise ValueError('convgru.build(..., "torch", cell=True) has no batch_first: a cell takes one frame a call')
    if isinstance(spec, ForecasterSpec) or spec != NetworkSpec(spec.layers[:1]):
        raise ValueError(
            f'convgru.build(..., "torch", cell=True) expected a network of one layer in one direction, without '
            f"dropout or zoneout, which a cell does not have, got {spec}"
        )
    return CELLS[spec.cell].from_spec(spec, **options)


def extract(net: nn.Module) -> Weights:
    """Copy the weights that a module computes with in evaluation, byte for byte.

    Weights behind parametrizations, hooks of torch.nn.utils and FSDP2's DTensors are computed and
    gathered (the last on all processes together). Of a drop-in it is what ``convgru.adopt`` makes
    of its state dict.

    Raises:
        TypeError: for any other module.
        ValueError: for a part that was replaced by what the module's spec does not say.
        WeightsError: for numbers that are not finite, a module on the meta device, or a layer
            with zoneout or of the backward direction.
    """
    net = unwrapped(net)
    if not isinstance(net, (SpecModule, DropIn)):
        raise TypeError(f"expected a module of convgru.torch, got {type(net).__module__}.{type(net).__qualname__}")
    if isinstance(net, Layer) and (net.reverse or net.zoneout):
        option = "reverse=True" if net.reverse else f"zoneout={net.zoneout}"
        raise WeightsError(
            f"extract expected a network, got one of its layers with {option}, which weights of one layer do not tell: "
            "extract the network"
        )
    meta = next((name for name, tensor in net.named_parameters() if tensor.is_meta), None)
    if meta is not None:
        raise WeightsError(
            f"extract expected a {type(net).__name__} that holds numbers, got one whose {meta} is on the meta device: "
            "give it memory with to_empty(device=...) and load its weights first"
        )
    with torch.no_grad(), evaluation(net):
        compute_hooked_weights(net)
        if isinstance(net, DropIn):
            return Weights(net.spec, net.exact_arrays())
        return Weights(net.spec, {name: to_numpy(tensor) for name, tensor in net.arrays().items()})


def load(net: Any, weights: Weights) -> None:
    """Copy weights into a module's parameters in place, all of them or none.

    Raises:
        TypeError: for a drop-in, whose parameters are those of the original.
        WeightsError: for weights of another spec, dtype or shape, and for parameters that are
            sharded, on the meta device, or computed from others.
    """
    net = unwrapped(net)
    name = type(net).__name__
    if isinstance(net, DropIn):
        raise TypeError(f"load expected a module of convgru.torch, got the drop-in {name}: use its load_state_dict")
    prefix = layer_prefix(0) if isinstance(net, LayerModule) else ""
    parameters = {
        prefix + name_inside(short): parameter for short, parameter in net.named_parameters(remove_duplicate=False)
    }
    held = {n: (tuple(p.shape), str(p.dtype).removeprefix("torch.")) for n, p in parameters.items()}
    weights.check_fit(name, net.spec, held)
    for n, p in parameters.items():
        if p.is_meta or hasattr(p, "device_mesh"):
            where = (
                "is on the meta device: to_empty(device=...)" if p.is_meta else "is sharded: load before fully_shard"
            )
            raise WeightsError(f"{name}: {n} expected numbers in this process, but {where}")
    check_ties(name, parameters, weights)
    tensors = {n: to_tensor(array, parameters[n].device) for n, array in weights.arrays.items()}
    with torch.no_grad():
        for n, tensor in tensors.items():
            parameters[n].copy_(tensor)


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
    """Run the public module on arrays: output, final state, gradients; see ``registry.Backend``."""
    if device not in devices():
        raise _no_device(device)
    net, spec, extras = build(weights, device=device).eval(), weights.spec, extras or Extras()
    arrays = {"x": x, **({} if state is None else dict(state_leaves(spec, state))), **extras.leaves()}
    leaves = {n: to_tensor(a, device).requires_grad_(cotangents is not None) for n, a in arrays.items()}
    begin = None if state is None else nest_state(spec, leaves)
    with torch.set_grad_enabled(cotangents is not None):
        given = () if steps is None else (steps,)
        y, final = net(leaves["x"], *given, begin, **_options(extras, leaves, device))
    results = {"y": y, **dict(state_leaves(spec, final))}
    gradients: dict[str, np.ndarray] = {}
    if cotangents is not None:
        by_name = {"y": cotangents[0], **dict(state_leaves(spec, cotangents[1]))}
        gradients = _gradients(results, {**leaves, **dict(net.named_parameters())}, by_name, device)
    outputs = {name: to_numpy(result) for name, result in results.items()}
    return outputs.pop("y"), nest_state(spec, outputs), gradients


def evaluate(
    call: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    leaves: Mapping[str, np.ndarray],
    cotangents: Mapping[str, np.ndarray] | None,
    device: str = "cpu",
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Call a function of named tensors; with cotangents, return the leaves' gradients too."""
    tensors = {n: to_tensor(a, device).requires_grad_(cotangents is not None) for n, a in leaves.items()}
    with torch.set_grad_enabled(cotangents is not None):
        results = call(tensors)
    gradients = {} if cotangents is None else _gradients(results, tensors, cotangents, device)
    return {name: to_numpy(result) for name, result in results.items()}, gradients


def _gradients(
    results: Mapping[str, Tensor], inputs: Mapping[str, Tensor], cotangents: Mapping[str, np.ndarray], device: str
) -> dict[str, np.ndarray]:
    """Return the gradients of sum(cotangents · results) with respect to the inputs, by name."""
    grad_outputs = [to_tensor(cotangents[name], device) for name in results]
    grads = torch.autograd.grad(
        list(results.values()), list(inputs.values()), grad_outputs, allow_unused=True, materialize_grads=True
    )
    return {name: to_numpy(grad) for name, grad in zip(inputs, grads, strict=True)}


def _options(extras: Extras, leaves: Mapping[str, Tensor], device: str) -> dict[str, Any]:
    """Return the extra arguments of a call as the module takes them."""
    options: dict[str, Any] = {}
    if extras.context is not None:
        options["context"] = tuple(leaves[f"context.{i}"] for i in range(len(extras.context)))
    if extras.masks is not None:
        options["masks"] = {name: to_tensor(mask, device) for name, mask in extras.masks.items()}
    for name in ("lengths", "targets", "forced"):
        if name in extras.given:
            options[name] = to_tensor(np.asarray(getattr(extras, name)), device)
    if extras.resume:
        options["resume"] = True
    return options
