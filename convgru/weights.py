"""Weights: a spec and its arrays, checked against each other; and initial weights from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from convgru.shapes import parameter_shapes
from convgru.spec import GATES, CellSpec, ForecasterSpec, NetworkSpec, Spec

DTYPES: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


class WeightsError(ValueError):
    """Weights, or a file of weights, that are not what they should be."""


class UnsupportedError(TypeError):
    """A framework cannot compute this, on this device, in this dtype; the message says what and why."""


def dtype_of(name: str | np.dtype[Any]) -> np.dtype[Any]:
    """The NumPy dtype called ``name``. Raises WeightsError unless it is one that weights may have."""
    known = DTYPES.get(str(name))
    if known is None:
        raise WeightsError(f"dtype expected one of {', '.join(DTYPES)}, got {name}")
    return known


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's spec and its arrays, by canonical name (design: ``layers.{l}.fwd.weight_ih`` …).

    Names and shapes must be exactly ``parameter_shapes(spec)``, in one dtype (float64, float32, float16 or bfloat16), all
    numbers finite; else WeightsError, which lists what is wrong. The arrays are not copied.
    """

    spec: Spec
    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if not isinstance(self.spec, (NetworkSpec, ForecasterSpec)):
            raise WeightsError(f"Weights expected a spec (convgru.network makes one), got {type(self.spec).__name__}")
        expected = parameter_shapes(self.spec)
        arrays = {name: np.asarray(array) for name, array in self.arrays.items()}
        missing, strange = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
        if missing or strange:
            raise WeightsError(
                f"{self.spec.title} weights: missing {missing or 'nothing'}, unexpected {strange or 'nothing'}"
            )
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
        """The same weights rounded once to another dtype."""
        target = dtype_of(dtype)
        return Weights(self.spec, {name: array.astype(target) for name, array in self.arrays.items()})

    def equal(self, other: Weights) -> bool:
        """Whether spec, dtype and every byte are the same."""
        return self.spec == other.spec and all(
            array.dtype == other.arrays[name].dtype and array.tobytes() == other.arrays[name].tobytes()
            for name, array in self.arrays.items()
        )


def init(spec: Spec, seed: int = 0, dtype: str = "float32") -> Weights:
    """Initial weights, the same for every framework.

    Each gate and group by itself: weight_ih Glorot uniform (Glorot and Bengio 2010, fans C·∏k and H·∏k), weight_hh
    orthogonal on (H, H·∏k) (Saxe et al. 2013), bias zero but for the forget gate's, which is one (Jozefowicz et al. 2015); peepholes
    zero, norms one and zero. A readout is Glorot uniform with bias zero. Drawn in float64 from Philox(seed), then rounded once to ``dtype``.
    """
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"init expected a seed that is an integer >= 0, got {seed!r}")
    rng = np.random.Generator(np.random.Philox(int(seed)))
    shapes = parameter_shapes(spec)
    arrays = {name: _initial(rng, name, shape, cell_of(spec, name)) for name, shape in shapes.items()}
    return Weights(spec, {name: array.astype(dtype_of(dtype)) for name, array in arrays.items()})


def cell_of(spec: Spec, name: str) -> CellSpec | None:
    """The layer that a parameter belongs to; None for a readout."""
    owner, found, rest = name.partition("layers.")
    if not found:
        return None
    network: NetworkSpec = getattr(spec, owner[:-1]) if owner else spec.recurrent
    cell = network.layers[int(rest.partition(".")[0])]
    return cell


def _initial(rng: np.random.Generator, name: str, shape: tuple[int, ...], cell: CellSpec | None) -> np.ndarray:
    part = name.rpartition(".")[2]
    if cell is None:
        return glorot(rng, shape) if part == "weight" else np.zeros(shape)
    if part in ("weight_ih", "weight_hh"):
        blocks = cell.gates * cell.groups
        draw = glorot if part == "weight_ih" else orthogonal
        return np.concatenate([draw(rng, (shape[0] // blocks, *shape[1:])) for _ in range(blocks)])
    array = np.ones(shape) if part == "norm_weight" else np.zeros(shape)
    if part == "bias" and cell.cell == "lstm":
        start = GATES["lstm"].index("f") * cell.hidden_channels
        array[start : start + cell.hidden_channels] = 1.0
    return array


def glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform in ±√(6 / (fan_in + fan_out)), of shape (out, in, *kernel)."""
    taps = prod(shape[2:])
    bound = np.sqrt(6.0 / ((shape[0] + shape[1]) * taps))
    return rng.uniform(-bound, bound, shape)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows orthonormal as vectors of the rest of ``shape``; uniform over such matrices, R's diagonal being positive."""
    q, r = np.linalg.qr(rng.standard_normal((prod(shape[1:]), shape[0])))
    return np.ascontiguousarray((q * np.sign(np.diagonal(r))).T).reshape(shape)
