"""What the modules share: their parameters, their initial values, and the spec in their state dict."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from convgru.spec import GATES, CellSpec, Spec, from_json, to_json
from convgru.spec.describe import computed, title
from convgru.spec.shapes import cell_parameter_shapes
from convgru_torch import hub

METADATA = "convgru"
"""The key of a state dict's ``_metadata`` under which a module leaves its spec."""
FORMAT = 1


def leave_spec(module: nn.Module, state: object, prefix: str, metadata: MutableMapping[str, Any]) -> None:
    """State-dict post hook: write the spec into the metadata, so that ``torch.save(net.state_dict(), f)`` is enough for convgru.read."""
    metadata[METADATA] = {"format": FORMAT, "spec": to_json(module.spec)}  # type: ignore[arg-type]


class SpecModule(nn.Module):
    """A module that knows its spec.

    Loading a state dict that was saved by a network of another spec raises RuntimeError: names and shapes do not tell a dilation, a
    padding, or a reset gate without bias. With ``strict=False`` it stands among the unexpected keys. Dropout may differ.
    """

    spec: Any
    inner = False
    """Whether it is part of another such module, which then compares the specs."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        hub.keep_tuples(self, spec)
        self.register_state_dict_post_hook(leave_spec)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # Torch says strict=True here whatever the user said, and raises for what is unexpected only if the user did.
        if strict and not self.inner and METADATA in local_metadata:
            unexpected_keys.extend(_differences(prefix, self.spec, local_metadata[METADATA]))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """The parameters by canonical name, as they are used: behind parametrisations and functional_call too."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def _differences(prefix: str, spec: Spec, note: Any) -> list[str]:
    """What is to be said of a state dict whose metadata hold another spec than the module's; nothing if it is the same."""
    try:
        if note["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {note['format']!r}")
        other = from_json(note["spec"])
    except (ValueError, TypeError, KeyError) as error:
        return [f"{prefix}<a spec that cannot be read: {error}>"]
    if computed(other) == computed(spec):
        return []
    return [f"{prefix}<weights of {title(other)}, where the module is {title(spec)}>"]


def add_parameters(module: nn.Module, cell: CellSpec, device: Any, dtype: torch.dtype | None) -> None:
    """Give a module the parameters of one layer, not yet filled; those of several ``updates`` in modules of their own."""
    check_dtype_of_parameters(cell.title, dtype)
    if cell.updates:
        module.updates = nn.ModuleList(nn.Module() for _ in cell.updates)
    for name, shape in cell_parameter_shapes(cell).items():
        holder, _, short = name.rpartition(".")
        owner = module.get_submodule(holder)
        owner.register_parameter(short, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))


def parameter(module: nn.Module, name: str) -> Tensor:
    """What stands under a short name now, be it a parameter or what takes its place in a call."""
    found: Tensor = reduce(getattr, name.split("."), module)  # type: ignore[assignment]
    return found


def check_dtype_of_parameters(owner: str, dtype: object) -> None:
    """Raise TypeError unless ``dtype`` is one that parameters may have, or None for torch's default."""
    allowed = (None, torch.float64, torch.float32, torch.float16, torch.bfloat16)
    if dtype not in allowed:
        raise TypeError(f"{owner} expected dtype float64, float32, float16 or bfloat16, got {dtype!r}")


@torch.no_grad()
def initialise(module: nn.Module, cell: CellSpec) -> None:
    """Fill one layer's parameters: the distributions of ``convgru.init``, torch's random numbers.

    Each gate and group by itself: weight_ih Glorot uniform (Glorot and Bengio 2010), weight_hh orthogonal (Saxe et al. 2013), bias
    zero but for the forget gate's, which is one (Jozefowicz et al. 2015); peepholes zero, norms one and zero.
    """
    for name in cell_parameter_shapes(cell):
        tensor, part = parameter(module, name), name.rpartition(".")[2]
        if tensor.is_meta:
            continue
        if part == "weight_ih":
            for block in tensor.chunk(cell.gates * cell.groups):
                nn.init.xavier_uniform_(block)
        elif part == "weight_hh":
            for block in tensor.chunk(cell.gates * cell.groups):
                # QR is not there for half precision.
                wide = block if block.dtype == torch.float64 else block.float()
                block.copy_(nn.init.orthogonal_(torch.empty_like(wide, memory_format=torch.contiguous_format)))
        else:
            tensor.fill_(1.0 if part == "norm_weight" else 0.0)
            if part == "bias" and "f" in GATES[cell.cell]:
                tensor.chunk(cell.gates)[GATES[cell.cell].index("f")].fill_(1.0)
