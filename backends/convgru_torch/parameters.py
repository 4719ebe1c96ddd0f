"""Base classes that hold parameters, and the spec in the state dict."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from convgru.spec import CellSpec, NetworkSpec, Spec, from_json, to_json
from convgru.spec.describe import computed, title
from convgru.spec.options import refuse_unknown
from convgru.spec.shapes import Shape, cell_parameter_shapes, layer_prefix, nest_state, state_leaves, zero_state_shapes
from convgru_torch import hub
from convgru_torch.execution import AUTOMATIC, Execution, ExecutionOptions
from convgru_torch.implementations import Choice
from convgru_torch.initial_values import initialise, parameter
from convgru_torch.parametrized import compute_hooked_weights, evaluation
from convgru_torch.winograd import check_algorithm

if TYPE_CHECKING:
    from typing import Self, Unpack  # new in 3.11; the room itself also runs on 3.10

METADATA = "convgru"
"""The key of a state dict's ``_metadata`` under which a module leaves its spec."""
FORMAT = 1


def leave_spec(module: nn.Module, state: object, prefix: str, metadata: MutableMapping[str, Any]) -> None:
    """State-dict post hook: write the spec into the metadata, where convgru.read looks for it.

    So ``torch.save(net.state_dict(), f)`` is enough.
    """
    metadata[METADATA] = {"format": FORMAT, "spec": to_json(module.spec)}  # type: ignore[arg-type]


class SpecModule(nn.Module):
    """A module that knows its spec.

    Loading a state dict that was saved by a network of another spec raises RuntimeError, also with
    ``strict=False``: names and shapes do not tell a dilation, a padding, or a reset gate without
    bias. Dropout may differ. A plain ``dict(state_dict)`` has no spec, and so loads whatever has
    the same names and shapes.
    """

    spec: Any
    inner = False
    """Whether this is part of another such module, which compares the specs if it is loaded."""

    def __init__(self, spec: Spec, execution: Execution = AUTOMATIC) -> None:
        super().__init__()
        self.spec, self.execution = spec, execution
        self._check_execution(execution)
        hub.keep_tuples(self, spec)
        self.register_state_dict_post_hook(leave_spec)  # type: ignore[no-untyped-call]

    def _check_execution(self, execution: Execution) -> None:
        """Raise UnsupportedError for what this network cannot do."""
        check_algorithm(type(self).__name__, self.spec, execution.algorithm)

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
        if (not self.inner or not prefix) and METADATA in local_metadata:
            error_msgs.extend(_differences(prefix, self.spec, local_metadata[METADATA]))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def set_execution(self, **options: Unpack[ExecutionOptions]) -> Self:
        """Change how this module and those inside it compute, and return it.

        Args:
            options: those to change, ``impl="readable"`` for example (``Execution``).

        Raises:
            ValueError: for a value that an option does not have.
            TypeError: for an unknown option.
            UnsupportedError: for an algorithm that computes nothing of the network.
        """
        refuse_unknown(f"{type(self).__name__}.set_execution", {**options}, ExecutionOptions)
        modules = [module for module in self.modules() if isinstance(module, SpecModule)]
        for module in modules:
            module._check_execution(replace(module.execution, **options))
        for module in modules:
            module.execution = replace(module.execution, **options)
        return self

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """Map canonical names to the tensors that a call would use, parametrized or hooked."""
        raise NotImplementedError


def _differences(prefix: str, spec: Spec, note: Any) -> list[str]:
    """Return the errors of a state dict whose metadata hold another spec than the module's."""
    owner = f"{prefix.rstrip('.')}: " if prefix else ""
    try:
        if note["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {note['format']!r}")
        other = from_json(note["spec"])
    except (ValueError, TypeError, KeyError) as error:
        return [f"{owner}the state dict holds a spec that cannot be read: {error}"]
    if computed(other) == computed(spec):
        return []
    return [
        f"{owner}the state dict was saved by {title(other)}, the module is {title(spec)}; "
        "dict(state_dict), which has no spec, loads the numbers all the same"
    ]


class Update(nn.Module):
    """The parameters of one of a layer's ``updates``: plain cells, run in turn each step.

    Its call takes nothing and returns the parameters by name: calling it is what lets torch's hooks
    act on them.
    """

    def __init__(self, cell: CellSpec, device: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.cell = cell
        _register_parameters(self, cell, device, dtype)

    def forward(self) -> dict[str, Tensor]:
        """Return the parameters by short name (``weight_ih`` …)."""
        return {name: getattr(self, name) for name in cell_parameter_shapes(self.cell)}

    def reset_parameters(self) -> None:
        """Draw new initial values, as the layer does."""
        initialise(self, self.cell)

    def extra_repr(self) -> str:
        """The kernel size, the one thing in which updates differ."""
        return f"kernel_size={self.cell.kernel_size}"


class LayerModule(SpecModule):
    """Holds the parameters of one layer in one direction; ``spec`` is a one-layer network.

    The parameters stand here, or with ``updates`` in ``updates[u]``.
    """

    ran: Choice | None = None

    def __init__(self, spec: NetworkSpec, device: Any, dtype: torch.dtype | None, execution: Execution) -> None:
        super().__init__(spec, execution)
        cell = spec.layers[0]
        self.shapes = cell_parameter_shapes(cell)
        check_dtype_of_parameters(cell.title, dtype)
        if cell.updates:
            self.updates = nn.ModuleList(Update(step, device, dtype) for step in cell.steps)
        else:
            _register_parameters(self, cell, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values.

        Each gate and group by itself: weight_ih Glorot uniform (Glorot and Bengio 2010), weight_hh
        orthogonal (Saxe et al. 2013), bias zero but for the forget gate's, which is one (Jozefowicz
        et al. 2015); peepholes zero, norms one and zero. The distributions of ``convgru.init``,
        with torch's random numbers.
        """
        initialise(self, self.spec.layers[0])

    def current(self) -> dict[str, Tensor]:
        """Map short names (``updates.0.weight_ih`` …) to the tensors that this call uses."""
        if not self.spec.layers[0].updates:
            held = self._parameters
            return {name: held[name] if name in held else getattr(self, name) for name in self.shapes}  # type: ignore[misc]
        return {f"updates.{u}.{name}": a for u, update in enumerate(self.updates) for name, a in update().items()}

    def note(self, choice: Choice) -> None:
        """Keep which implementation runs."""
        self.ran = choice

    def arrays(self, prefix: str = layer_prefix(0)) -> dict[str, Tensor]:
        """Map canonical names to the tensors that a call would use, parametrized or hooked."""
        with evaluation(self):
            compute_hooked_weights(self)
            return {prefix + name: parameter(self, name) for name in self.shapes}


def check_parameters(
    owner: str, shapes: Mapping[str, Shape], arrays: Mapping[str, Any], prefix: str = ""
) -> torch.dtype:
    """Check the parameters of one layer, by short name, and return their dtype.

    Errors put ``prefix`` before the name.

    Raises ValueError for what is not there or has another shape, TypeError for what is no tensor or
    of another dtype than the rest.
    """
    dtype: torch.dtype | None = None
    for name, shape in shapes.items():
        array = arrays[name]
        if not isinstance(array, Tensor):
            raise TypeError(f"{owner} expected {prefix}{name} to be a torch.Tensor, got {type(array).__name__}")
        if tuple(array.shape) != shape:
            raise ValueError(f"{owner} {prefix}{name} expected shape {shape}, got {tuple(array.shape)}")
        if dtype is not None and array.dtype != dtype:
            kinds = f"{dtype} and {array.dtype} ({prefix}{name})".replace("torch.", "")
            raise TypeError(f"{owner} expected one dtype for all parameters, got {kinds}")
        dtype = array.dtype
    assert dtype is not None
    return dtype


class Precision(NamedTuple):
    """The dtype of a network's parameters, and whether its layers may compute in another one."""

    dtype: torch.dtype
    sharded: bool = False
    """Whether FSDP holds the parameters: its mixed precision casts parameters and inputs when a
    layer is called.
    """
    state_dtype: torch.dtype | None = None
    """Of the state, where it is asked for (``Execution``)."""

    @property
    def state(self) -> torch.dtype:
        """The dtype of the state."""
        return self.dtype if self.state_dtype is None else self.state_dtype


def precision_of(module: SpecModule) -> Precision:
    """Look at a network's parameters, which its layers check when they are called.

    Not at the attributes of its layers: what torch's older weight hooks leave there is as old as
    the last call.
    """
    array = _a_parameter(module)
    return Precision(array.dtype, hasattr(array, "placements"), module.execution.state_dtype)  # which DTensors have


def zero_state(module: SpecModule, batch: int, size: Sequence[int]) -> tuple[Any, ...]:
    """Zeros for each entry of a network's state, of the parameters' dtype and on their device.

    Raises ValueError for a batch that is no integer >= 0, and for a size that is not one that the
    network can read.
    """
    shapes = zero_state_shapes(type(module).__name__, module.spec, batch, size)
    array, dtype = _a_parameter(module), precision_of(module).state
    leaves = {n: torch.zeros(s, dtype=dtype, device=array.device) for n, s in state_leaves(module.spec, shapes)}
    return nest_state(module.spec, leaves)


def _a_parameter(module: nn.Module) -> Tensor:
    """Any one parameter, for dtype and device."""
    inner: nn.Module | None = module
    while inner is not None:  # down to the first layer, without the generators of ``parameters``
        for held in inner._parameters.values():
            if held is not None and held.is_floating_point():
                return held
        inner = next(iter(inner._modules.values()), None)
    for array in module.parameters():
        if array.is_floating_point():
            return array
    # A replica of DataParallel holds plain tensors in the place of parameters.
    holders = (holder for holder in module.modules() if isinstance(holder, (LayerModule, Update)))
    tensor = next((a for holder in holders for a in vars(holder).values() if isinstance(a, Tensor)), None)
    if tensor is None:
        dtypes = ", ".join(sorted({str(a.dtype).removeprefix("torch.") for a in module.parameters()})) or "none"
        raise TypeError(f"{type(module).__name__} expected parameters of a real floating dtype, got {dtypes}")
    return tensor


def _register_parameters(module: nn.Module, cell: CellSpec, device: Any, dtype: torch.dtype | None) -> None:
    """Give a module the parameters of one plain cell, not yet filled."""
    for name, shape in cell_parameter_shapes(cell).items():
        module.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))


def check_dtype_of_parameters(owner: str, dtype: object) -> None:
    """Raise TypeError unless ``dtype`` suits parameters or is None, for torch's default."""
    allowed = (None, torch.float64, torch.float32, torch.float16, torch.bfloat16)
    if dtype not in allowed:
        raise TypeError(f"{owner} expected dtype float64, float32, float16 or bfloat16, got {dtype!r}")
