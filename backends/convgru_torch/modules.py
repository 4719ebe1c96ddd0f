"""What the modules share: their parameters, their initial values, how they print, and the spec in their state dict."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from convgru.shapes import cell_parameter_shapes
from convgru.spec import GATES, CellSpec, NetworkSpec, Spec
from convgru.spec import to_json

METADATA = "convgru"
"""The key of a state dict's ``_metadata`` under which a module leaves its spec."""
FORMAT = 1


def leave_spec(module: nn.Module, state: object, prefix: str, metadata: MutableMapping[str, Any]) -> None:
    """State-dict post hook: write the spec into the metadata, so that ``torch.save(net.state_dict(), f)`` is enough for convgru.read."""
    metadata[METADATA] = {"format": FORMAT, "spec": to_json(module.spec)}  # type: ignore[arg-type]


class SpecModule(nn.Module):
    """A module that knows its spec."""

    spec: Any

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.register_state_dict_post_hook(leave_spec)  # type: ignore[no-untyped-call]

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """The parameters by canonical name, as they are used: behind parametrisations and functional_call too."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def add_parameters(module: nn.Module, cell: CellSpec, device: Any, dtype: torch.dtype | None) -> None:
    """Give a module the parameters of one layer, not yet filled."""
    check_dtype_of_parameters(cell.title, dtype)
    for name, shape in cell_parameter_shapes(cell).items():
        module.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))


def check_dtype_of_parameters(owner: str, dtype: object) -> None:
    """Raise TypeError unless ``dtype`` is one that parameters may have, or None for torch's default."""
    allowed = (None, torch.float64, torch.float32, torch.float16, torch.bfloat16)
    if dtype not in allowed:
        raise TypeError(f"{owner} expected dtype float64, float32, float16 or bfloat16, got {dtype!r}")


@torch.no_grad()
def initialise(module: nn.Module, cell: CellSpec) -> None:
    """Fill one layer's parameters: the distributions of ``convgru.init``, torch's random numbers.

    Each gate by itself: weight_ih Glorot uniform (Glorot and Bengio 2010), weight_hh orthogonal (Saxe et al. 2013), bias
    zero but for the forget gate's, which is one (Jozefowicz et al. 2015).
    """
    parameters = {name: getattr(module, name) for name in cell_parameter_shapes(cell)}
    if parameters["weight_ih"].is_meta:
        return
    for gate in parameters["weight_ih"].chunk(cell.gates):
        nn.init.xavier_uniform_(gate)
    for gate in parameters["weight_hh"].chunk(cell.gates):
        # QR is not there for half precision.
        wide = gate if gate.dtype == torch.float64 else gate.float()
        gate.copy_(nn.init.orthogonal_(torch.empty_like(wide, memory_format=torch.contiguous_format)))
    for name in ("bias", "bias_hn"):
        if name in parameters:
            parameters[name].zero_()
    if cell.bias and "f" in GATES[cell.cell]:
        parameters["bias"].chunk(cell.gates)[GATES[cell.cell].index("f")].fill_(1.0)


def describe(spec: NetworkSpec) -> dict[str, Any]:
    """The arguments, other than channels, with which a user would write this network: only those that are not the defaults."""
    layers = spec.layers
    first = layers[0]
    shown: dict[str, Any] = {"kernel_size": _collapse([layer.kernel_size for layer in layers])}
    if len(layers) > 1:
        shown["num_layers"] = len(layers)
    if spec.ndim != 2:
        shown["ndim"] = spec.ndim
    for name, other in (("recurrent_kernel_size", "kernel_size"), ("dilation", ""), ("recurrent_dilation", "dilation")):
        values = [getattr(layer, name) for layer in layers]
        default = [getattr(layer, other) if other else (1,) * spec.ndim for layer in layers]
        if values != default:
            shown[name] = _collapse(values)
    if any(layer.padding != "same" for layer in layers):
        shown["padding"] = _collapse([layer.padding for layer in layers])
    for name, usual in (("bias", True), ("activation", "tanh")):
        if getattr(first, name) != usual:
            shown[name] = getattr(first, name)
    if first.reset == "after":
        shown["reset"] = "after"
    return shown


def arguments(channels: int, spec: NetworkSpec, **options: Any) -> str:
    """The text of ``describe`` as it stands in a call."""
    shown = {**describe(spec), **options}
    hidden = _collapse([layer.hidden_channels for layer in spec.layers])
    return ", ".join([repr(channels), repr(hidden), *(f"{name}={value!r}" for name, value in shown.items())])


def _collapse(values: list[Any]) -> Any:
    """One value for all layers where they agree, one number for all dimensions where those agree."""
    short = [v[0] if isinstance(v, tuple) and len(set(v)) == 1 and isinstance(v[0], int) else v for v in values]
    return short[0] if all(value == short[0] for value in short) else short
