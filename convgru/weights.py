"""Weights: a spec and its arrays, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from convgru.errors import WeightsError
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.describe import computed, difference, title
from convgru.spec.fields import name_differences
from convgru.spec.shapes import parameter_shapes

DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


def dtype_of(name: str | np.dtype[Any]) -> np.dtype[Any]:
    """The NumPy dtype called ``name``. Raises WeightsError unless weights may have it."""
    known = DTYPES.get(str(name))
    if known is None:
        raise WeightsError(f"dtype expected one of {', '.join(DTYPES)}, got {name}")
    return known


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's spec and its arrays, by canonical name (``layers.{l}.fwd.weight_ih`` …).

    Names and shapes must be exactly ``parameter_shapes(spec)``, in one dtype (float64, float32,
    float16 or bfloat16), all numbers finite; else WeightsError, which lists what is wrong. The
    arrays are not copied.
    """

    spec: Spec
    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if not isinstance(self.spec, (NetworkSpec, ForecasterSpec)):
            raise WeightsError(f"Weights expected a spec (convgru.network makes one), got {type(self.spec).__name__}")
        expected = parameter_shapes(self.spec)
        arrays = {name: np.asarray(array) for name, array in self.arrays.items()}
        if differences := name_differences(expected, arrays):
            raise WeightsError(f"{self.spec.title} weights: {differences}")
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise WeightsError(
                    f"{self.spec.title} weights: {name} expected shape {shape}, got {arrays[name].shape}"
                )
        dtypes = {str(array.dtype) for array in arrays.values()}
        if len(dtypes) != 1:
            raise WeightsError(
                f"{self.spec.title} weights: expected one dtype for all arrays, got {', '.join(sorted(dtypes))}"
            )
        dtype_of(dtypes.pop())
        for name, array in arrays.items():
            bad = array.size - int(np.count_nonzero(np.isfinite(array)))
            if bad:
                raise WeightsError(
                    f"{self.spec.title} weights: {name} expected finite numbers, got {bad} of {array.size} that are not"
                )
        object.__setattr__(self, "arrays", {name: arrays[name] for name in expected})

    def __repr__(self) -> str:
        sizes = [f"{cell.in_channels} -> {cell.hidden_channels}" for cell in self.spec.recurrent.layers]
        numbers = sum(array.size for array in self.arrays.values())
        return f"Weights({self.spec.title}, {self.spec.ndim}-D, layers {', '.join(sizes)}, {numbers} numbers of {self.dtype})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that all arrays share."""
        return next(iter(self.arrays.values())).dtype

    def astype(self, dtype: str | np.dtype[Any]) -> Weights:
        """Return the weights rounded once to another dtype."""
        target = dtype_of(dtype)
        return Weights(self.spec, {name: array.astype(target) for name, array in self.arrays.items()})

    def equal(self, other: Weights) -> bool:
        """Whether spec, dtype and every byte are the same."""
        return self.spec == other.spec and all(
            array.dtype == other.arrays[name].dtype and array.tobytes() == other.arrays[name].tobytes()
            for name, array in self.arrays.items()
        )

    def check_fit(self, owner: str, spec: Spec, parameters: Mapping[str, tuple[Sequence[int], str]]) -> None:
        """Check that these weights can fill a module's parameters.

        Args:
            owner: The module's name, for the error.
            spec: The module's spec. Dropout, which acts in training alone, may differ.
            parameters: Shape and dtype of each parameter by canonical name.

        Raises:
            WeightsError: The specs, the names of the arrays, their shapes or dtypes differ; the
                message says in what.
        """
        if computed(spec) != computed(self.spec):
            raise WeightsError(
                f"{owner} expected the weights of {title(spec)}, got those of {title(self.spec)}; "
                f"they differ in {difference(spec, self.spec)}"
            )
        for name, array in self.arrays.items():
            if name not in parameters:
                raise WeightsError(
                    f"{owner} has no parameter {name}: if it is computed from others (weight norm, pruning, an adapter), "
                    f"take that off before loading; its parameters are {', '.join(parameters)}"
                )
            shape, dtype = parameters[name]
            if tuple(shape) != array.shape:
                raise WeightsError(f"{owner}: {name} expected shape {tuple(shape)}, got {array.shape}")
            if dtype != str(array.dtype):
                raise WeightsError(
                    f"{owner}: {name} expected dtype {dtype}, got {array.dtype}: weights.astype({dtype!r}) rounds them"
                )


def check_ties(owner: str, parameters: Mapping[str, object], weights: Weights) -> None:
    """Raise WeightsError where a parameter that has two names would need two different arrays."""
    names: dict[int, str] = {}
    for name, array in weights.arrays.items():
        first = names.setdefault(id(parameters[name]), name)
        if array.tobytes() != weights.arrays[first].tobytes():
            raise WeightsError(f"{owner}: {first} and {name} are one parameter, the weights have different numbers")
