"""Initial weights from a seed, the same for every framework.

``recipe`` says how each parameter starts; native constructors follow it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from convgru.spec import GATES, CellSpec, NetworkSpec, Spec
from convgru.spec.shapes import parameter_shapes
from convgru.weights import Weights, dtype_of


@dataclass(frozen=True)
class Recipe:
    """The initial value of one parameter.

    Attributes:
        kind: ``glorot`` (uniform, Glorot and Bengio 2010), ``orthogonal`` (Saxe et al. 2013) or
            ``constant``.
        blocks: Number of equal blocks of rows, each drawn by itself: gates times groups.
        value: The constant.
        rows: First and last-plus-one of rows that hold another constant, and that constant: an
            LSTM's forget bias is one (Jozefowicz et al. 2015).
    """

    kind: Literal["glorot", "orthogonal", "constant"]
    blocks: int = 1
    value: float = 0.0
    rows: tuple[int, int, float] | None = None


def recipe(spec: Spec, name: str) -> Recipe:
    """Return the recipe for the parameter of this canonical name.

    weight_ih and a readout are Glorot uniform with fans C·∏k and H·∏k, weight_hh is orthogonal as a
    matrix (H, H·∏k); biases and peepholes are zero, a forget gate's bias and the weights of norms
    one.
    """
    part, cell = name.rpartition(".")[2], cell_of(spec, name)
    if cell is None:
        return Recipe("glorot" if part == "weight" else "constant")
    return cell_recipe(cell, part)


def cell_recipe(cell: CellSpec, part: str) -> Recipe:
    """Return the recipe for a parameter of one layer by its short name, ``weight_ih``."""
    if part in ("weight_ih", "weight_hh"):
        return Recipe("glorot" if part == "weight_ih" else "orthogonal", cell.gates * cell.groups)
    if part == "bias" and cell.cell == "lstm":
        start = GATES["lstm"].index("f") * cell.hidden_channels
        return Recipe("constant", rows=(start, start + cell.hidden_channels, 1.0))
    return Recipe("constant", value=1.0 if part == "norm_weight" else 0.0)


def init(spec: Spec, seed: int = 0, dtype: str = "float32") -> Weights:
    """Initial weights, the same for every framework: each parameter as ``recipe`` says.

    They are drawn in float64 from Philox(seed), then rounded once to ``dtype``.

    Raises:
        ValueError: if ``seed`` is not an integer >= 0.
    """
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"init expected a seed that is an integer >= 0, got {seed!r}")
    rng = np.random.Generator(np.random.Philox(int(seed)))
    arrays = {name: _drawn(rng, recipe(spec, name), shape) for name, shape in parameter_shapes(spec).items()}
    return Weights(spec, {name: array.astype(dtype_of(dtype)) for name, array in arrays.items()})


def cell_of(spec: Spec, name: str) -> CellSpec | None:
    """The layer that a parameter belongs to; None for a readout."""
    owner, layers, rest = name.partition("layers.")
    if not layers:
        return None
    network: NetworkSpec = getattr(spec, owner[:-1]) if owner else spec.recurrent
    return network.layers[int(rest.partition(".")[0])]


def _drawn(rng: np.random.Generator, how: Recipe, shape: tuple[int, ...]) -> np.ndarray:
    if how.kind == "constant":
        array = np.full(shape, how.value)
        if how.rows is not None:
            start, stop, value = how.rows
            array[start:stop] = value
        return array
    draw = glorot if how.kind == "glorot" else orthogonal
    return np.concatenate([draw(rng, (shape[0] // how.blocks, *shape[1:])) for _ in range(how.blocks)])


def glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform in ±√(6 / (fan_in + fan_out)), of shape (out, in, *kernel)."""
    taps = prod(shape[2:])
    bound = np.sqrt(6.0 / ((shape[0] + shape[1]) * taps))
    return rng.uniform(-bound, bound, shape)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Orthonormal rows, seen as vectors of the rest of ``shape``, of uniform distribution.

    It is the Q of a random matrix; the diagonal of R is made positive.
    """
    q, r = np.linalg.qr(rng.standard_normal((prod(shape[1:]), shape[0])))
    return np.ascontiguousarray((q * np.sign(np.diagonal(r))).T).reshape(shape)
