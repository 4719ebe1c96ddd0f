"""What the drop-ins share: an older system's parameters, and the canonical tensors that the layout table makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from convgru.calls import check_input
from convgru.importers import LAYOUTS
from convgru.importers.execute import canonical
from convgru.importers.match import Match
from convgru.importers.plan import Plan, plan
from convgru.spec import NetworkSpec
from convgru_torch.compat.canonical import TORCH
from convgru_torch.functional import run
from convgru_torch.numpy_bridge import to_numpy
from convgru_torch.parameters import parameter
from convgru_torch.parametrized import compute_hooked_weights


class DropIn(nn.Module):
    """A module whose parameters are an older system's, by its names, and which knows the network that they are.

    ``spec`` is that network; ``arrays()`` its canonical tensors, computed anew from the parameters at each call, so that gradients
    reach them. The state dict holds the original's keys and nothing else.
    """

    spec: NetworkSpec
    _plan: Plan
    _head: str

    def _read_as(self, layout: str, spec: NetworkSpec, *, head: str = "", groups: int | None = None) -> None:
        """Say which row of the layout table describes the parameters.

        ``head`` is how the row's names begin where this module is a part, a cell, of what the row describes; ``groups`` are the
        original's, where its convolutions cut across the gates.
        """
        self.spec, self._head = spec, head
        self._plan = plan(Match.of(LAYOUTS[layout], spec, groups))

    def _foreign(self) -> dict[str, Tensor]:
        """The parameters by the row's names, as they are used: behind parametrisations and functional_call too."""
        compute_hooked_weights(self)
        names = {name for blocks in self._plan.values() for block in blocks for name in block.names}
        return {name: parameter(self, name.removeprefix(self._head)) for name in sorted(names)}

    def arrays(self) -> dict[str, Tensor]:
        """The parameters by canonical name, differentiable."""
        return canonical(self._plan, self._foreign(), TORCH)

    def exact_arrays(self) -> dict[str, np.ndarray]:
        """The same in NumPy, as ``convgru.adopt(self.state_dict())`` computes them: what is not a copy is rounded once."""
        return canonical(self._plan, {name: to_numpy(tensor) for name, tensor in self._foreign().items()})

    def _run(self, x: Tensor, state: Any, **options: Any) -> tuple[Any, Any]:
        """The core on these parameters."""
        return run(self.spec, self.arrays(), x, state, training=self.training, owner=type(self).__name__, **options)


def convolution(inputs: int, outputs: int, kernel: Sequence[int], bias: bool = True) -> nn.Conv2d:
    """A convolution as the original makes it, padding and initial values included; it holds the parameters and is never called."""
    height, width = kernel
    return nn.Conv2d(inputs, outputs, (height, width), padding=(height // 2, width // 2), bias=bias)


def per_layer(owner: str, name: str, value: Any, count: int) -> list[Any]:
    """One value for each layer; a list within the list is a tuple. Raises ValueError for a list of another length."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{owner} {name} expected a list of {count} (one for each layer), got {len(value)}: {value!r}")
    return [tuple(each) if isinstance(each, list) else each for each in value]


def states(owner: str, name: str, given: Any, count: int) -> list[Any]:
    """The initial state of each layer, None where there is none; of all if none is given. Raises ValueError for another number of layers."""
    if given is not None and not isinstance(given, (list, tuple, Tensor)):
        raise TypeError(f"{owner} {name} expected a list of states, got {type(given).__name__}")
    found = [*(() if given is None else given)] or [None] * count
    if len(found) != count:
        raise ValueError(f"{owner} {name} expected {count} states (one for each layer), got {len(found)}")
    return found


def check_sequence(owner: str, spec: NetworkSpec, x: Any, layout: str) -> None:
    """Raise TypeError for an input that is no tensor, ValueError for a shape that is not what ``spec`` demands."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{owner} expected an input that is a torch.Tensor, got {type(x).__name__}")
    check_input(owner, spec.in_channels, spec.ndim, x.shape, layout)
