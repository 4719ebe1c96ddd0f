"""The parameters of a layer under their canonical names, and the initial weights of a module."""

from __future__ import annotations

import inspect
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from convgru.errors import UnsupportedError
from convgru.initialization import init as init_weights
from convgru.spec import CellSpec, NetworkSpec, Spec
from convgru.spec.fields import flag
from convgru.weights import Weights
from convgru_mindspore import ops
from convgru_mindspore.arguments import BFLOAT16, dtype_name, live
from convgru_mindspore.precision import MixedPrecisionCell

DTYPES = {"float64": ms.float64, "float32": ms.float32, "float16": ms.float16}
NAMES = (
    "weight_ih", "weight_hh", "bias", "bias_hn", "peephole_i", "peephole_f", "peephole_o", "norm_weight", "norm_bias",
)  # fmt: skip


class StepParameters(nn.Cell):
    """The parameters of one step by short name; None where the step has no such parameter."""

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Make a parameter of each array."""
        for name in NAMES:
            setattr(self, name, parameter(arrays[name], name) if name in arrays else None)

    def by_name(self) -> Any:
        """The parameters that exist, by short name."""
        parameters = {}
        for name in NAMES:
            value = getattr(self, name)
            if value is not None:
                parameters[name] = value
        return parameters


class LayerParameters(MixedPrecisionCell, StepParameters):
    """The parameters of one layer in one direction; those of ``updates`` in ``self.updates``."""

    def set_layer(self, cell: CellSpec, arrays: dict[str, np.ndarray]) -> None:
        """Make the parameters of ``cell``.

        ``arrays`` are by short name, an update's as ``updates.0.weight_ih``.
        """
        self.cell_spec = cell
        self.set_arrays(arrays)
        self.repeated = len(cell.updates) > 0
        if self.repeated:
            parts = []
            for index in range(len(cell.updates)):
                start, part = f"updates.{index}.", StepParameters()
                part.set_arrays({n.removeprefix(start): array for n, array in arrays.items() if n.startswith(start)})
                parts.append(part)
            self.updates = nn.CellList(parts)

    def first(self) -> Any:
        """One of the parameters, for the dtype that all have."""
        if self.repeated:
            return self.updates[0].weight_ih
        return self.weight_ih

    def prepared(self) -> Any:
        """The parameters of each step as the ops read them."""
        steps, prepared = self.cell_spec.steps, []
        if not self.repeated:
            return [ops.prepare(steps[0], self.by_name(), "", self.compute_dtype)]
        for index, part in enumerate(self.updates):
            prepared.append(ops.prepare(steps[index], part.by_name(), "", self.compute_dtype))
        return prepared


class SequenceCell(MixedPrecisionCell):
    """The base of stacks and forecasters: cells that read a sequence, made from a spec."""

    @classmethod
    def from_spec(
        cls,
        spec: Spec,
        *,
        weights: Weights | None = None,
        batch_first: bool = False,
        dtype: Any = ms.float32,
        impl: str = "auto",
    ) -> Any:
        """The network or forecaster of a spec.

        With ``weights`` the parameters are these, in their dtype; without, initial ones of
        ``dtype``.
        """
        net = cls.__new__(cls)
        nn.Cell.__init__(net)
        net._set_spec(spec, weights, dtype, batch_first, impl)
        return net

    def set_inputs(self, *inputs: Any, **kwargs: Any) -> None:
        """Say which dimensions of the arguments are free, ``Tensor(shape=[None, ...])``: one graph.

        As ``nn.Cell.set_inputs``, for the first arguments or by name; a state is a tuple of such.
        """
        names = inspect.signature(self.construct).parameters
        named = {**dict(zip(names, inputs, strict=False)), **kwargs}
        super().set_inputs(**{n: live(v) if isinstance(v, (tuple, list, dict)) else v for n, v in named.items()})

    def _set_spec(self, spec: Any, weights: Weights | None, dtype: Any, batch_first: bool, impl: str = "auto") -> None:
        raise NotImplementedError


def starting_weights(spec: Spec, dtype: Any, weights: Weights | None) -> Weights:
    """The given weights; else those of ``convgru.init``, seeded by NumPy (and ``ms.set_seed``).

    Raises UnsupportedError for bfloat16, TypeError for any other dtype that weights cannot have,
    ValueError for weights of another network.
    """
    if weights is None:
        check_dtype(dtype)
        seed = int(np.random.randint(0, 2**31))
        return init_weights(spec, seed, dtype_name(dtype))
    if weights.spec != spec:
        raise ValueError(f"{spec.title} expected weights of its own spec, got those of {weights.spec!r}")
    check_dtype(weights.dtype)
    return weights


def check_dtype(dtype: Any) -> None:
    """Raise unless parameters of this dtype compute on CPU."""
    name = dtype_name(dtype)
    if name == "bfloat16":
        raise UnsupportedError(BFLOAT16)
    if name not in DTYPES:
        raise TypeError(f"dtype expected one of {', '.join(f'mindspore.{known}' for known in DTYPES)}, got {dtype!r}")


def parameter(array: np.ndarray, name: str) -> Any:
    """A MindSpore parameter that holds a copy of the array."""
    return ms.Parameter(ms.Tensor(np.array(array, order="C"), DTYPES[str(array.dtype)]), name=name)


def part_of(weights: Weights, spec: NetworkSpec, prefix: str) -> Weights:
    """The weights whose names begin with ``prefix``, which they lose, as weights of ``spec``."""
    return Weights(spec, arrays_below(weights, prefix))


def arrays_below(weights: Weights, prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with ``prefix``, without it."""
    return {n.removeprefix(prefix): array for n, array in weights.arrays.items() if n.startswith(prefix)}


def check_flags(title: str, **flags: object) -> None:
    """Raise TypeError for an option of the class called ``title`` that is no bool."""
    for name, value in flags.items():
        flag(f"{title} {name}", value)


def is_pair(spec: Spec) -> bool:
    """Whether an entry of the network's state is a pair, (h, c)."""
    return len(spec.recurrent.layers[0].state_names) > 1


def check_cell(title: str, expected: str, spec: NetworkSpec) -> None:
    """Raise ValueError unless ``spec`` is of the cell that the class called ``title`` is for."""
    if spec.cell != expected:
        raise ValueError(f"{title} expected a spec of cell {expected!r}, got {spec.cell!r}")
