"""Initial weights from a seed, the same for every framework."""

from __future__ import annotations

from math import prod

import numpy as np

from convgru.spec import GATES, CellSpec, NetworkSpec, Spec
from convgru.spec.shapes import parameter_shapes
from convgru.weights import Weights, dtype_of


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
