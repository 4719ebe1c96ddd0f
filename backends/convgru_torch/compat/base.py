"""Base class of the drop-ins: a foreign system's parameters, read as canonical tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from convgru.calls import Caller
from convgru.importers import LAYOUTS
from convgru.importers.execute import canonical
from convgru.importers.match import Match
from convgru.importers.plan import Plan, plan
from convgru.spec import NetworkSpec
from convgru_torch.arguments import describe
from convgru_torch.compat.canonical import TORCH
from convgru_torch.functional import run
from convgru_torch.initial_values import parameter
from convgru_torch.numpy_bridge import to_numpy
from convgru_torch.parametrized import compute_hooked_weights

Init = TypeVar("Init", bound=Callable[..., None])


class DropIn(nn.Module):
    """A module with the parameter names of another system, and its network's spec.

    ``arrays()`` computes the canonical tensors from the parameters at each call, so that gradients
    reach them. The state dict holds the original's keys and nothing else.
    """

    spec: NetworkSpec
    _plan: Plan
    _head: str

    def _read_as(self, layout: str, spec: NetworkSpec, *, head: str = "", groups: int | None = None) -> None:
        """Declare which layout table reads this module's parameters.

        The tables are ``convgru.importers.LAYOUTS``; ``spec`` is the network that they yield.

        Args:
            layout: name of the layout.
            spec: the network.
            head: prefix of the layout's names above this module, if it is one cell of what the
                layout describes.
            groups: groups of the original, if its convolutions are grouped across the gates.
        """
        self.spec, self._head = spec, head
        self._plan = plan(Match.of(LAYOUTS[layout], spec, groups))

    def _foreign(self, called: bool = False) -> dict[str, Tensor]:
        """Map the layout's names to the parameters, parametrized or given by functional_call.

        ``called`` says that this is within the module's call, which its own hooks precede.
        """
        compute_hooked_weights(self, self if called else None)
        names = {name for blocks in self._plan.values() for block in blocks for name in block.names}
        return {name: parameter(self, name.removeprefix(self._head)) for name in sorted(names)}

    def arrays(self) -> dict[str, Tensor]:
        """Compute the canonical tensors by name, differentiably."""
        return canonical(self._plan, self._foreign(), TORCH)

    def exact_arrays(self) -> dict[str, np.ndarray]:
        """Compute the canonical arrays in float64, rounded once, as ``convgru.adopt`` does."""
        return canonical(self._plan, {name: to_numpy(tensor) for name, tensor in self._foreign().items()})

    def _run(self, x: Tensor, state: Any, **options: Any) -> tuple[Any, Any]:
        """Run the network on the canonical tensors (``convgru_torch.functional.run``)."""
        owner, arrays = type(self).__name__, canonical(self._plan, self._foreign(called=True), TORCH)
        check_sequence(owner, self.spec, x, options.get("layout", "TBCS"))
        return run(self.spec, arrays, x, state, training=self.training, owner=owner, **options)


def convolution(inputs: int, outputs: int, kernel: Sequence[int], bias: bool = True) -> nn.Conv2d:
    """Make the original's nn.Conv2d with its initial values; it is never called."""
    height, width = kernel
    return nn.Conv2d(inputs, outputs, (height, width), padding=(height // 2, width // 2), bias=bias)


def arguments_of(constructor: Callable[..., None], *, without: str = "") -> Callable[[Init], Init]:
    """Decorate an ``__init__(self, ..., *rest, **options)`` to show another one's arguments.

    Those that the decorated one names itself come first; ``without`` is left out.
    """

    def decorate(init: Init) -> Init:
        signature = inspect.signature(init)
        named = {name: p for name, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        others = inspect.signature(constructor).parameters.items()
        rest = [p for name, p in others if name not in named and name != without]
        init.__signature__ = signature.replace(parameters=[*named.values(), *rest])  # type: ignore[attr-defined]
        return init

    return decorate


def per_layer(owner: str, name: str, value: Any, count: int) -> list[Any]:
    """Return one value for each layer, inner lists as tuples; ValueError for another length."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{owner} {name} expected a list of {count} (one for each layer), got {len(value)}: {value!r}")
    return [tuple(each) if isinstance(each, list) else each for each in value]


def states(owner: str, name: str, given: Any, count: int) -> list[Any]:
    """Return the initial state of each layer, None for zeros; ValueError for another number."""
    if given is not None and not isinstance(given, (list, tuple, Tensor)):
        raise TypeError(f"{owner} {name} expected a list of states, got {type(given).__name__}")
    each = [*(() if given is None else given)] or [None] * count
    if len(each) != count:
        raise ValueError(f"{owner} {name} expected {count} states (one for each layer), got {len(each)}")
    return each


def check_sequence(owner: str, spec: NetworkSpec, x: Any, layout: str) -> None:
    """Raise TypeError unless x is a tensor, ValueError unless its shape fits the spec.

    An input without a batch axis, which the networks of ``convgru.torch`` take, is refused: the
    originals have none.
    """
    axes = layout.replace("S", "DHW"[-spec.ndim :])
    if isinstance(x, Tensor) and x.ndim != len(axes):
        raise ValueError(
            f"{owner} expected an input of {len(axes)} axes ({', '.join(axes)}), got {x.ndim} (input shape {tuple(x.shape)})"
        )
    caller = Caller(owner, spec, layout, describe, "a torch.Tensor")
    caller.input(x, str(getattr(x, "dtype", "")).removeprefix("torch."))
