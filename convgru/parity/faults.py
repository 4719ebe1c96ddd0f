"""Negative controls: faults planted on purpose, which a comparison worth the name must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convgru.spec import GATES, ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import parameter_shapes
from convgru.weights import Weights

CAUGHT = 10.0
"""A planted fault must miss the budget by this factor."""


@dataclass(frozen=True)
class Control:
    """How one planted fault fared: the ratio of its error to the budget, and whether that counts as caught."""

    fault: str
    case: str
    backend: str
    dtype: str
    ratio: float
    caught: bool


def _swapped_gates(weights: Weights) -> Weights | None:
    """The first two gates change places (r and z, i and f)."""
    gates = len(GATES[weights.spec.recurrent.cell])
    if gates < 2:
        return None
    arrays: dict[str, np.ndarray] = {}
    for name, array in weights.arrays.items():
        part = name.rpartition(".")[2]
        if part in ("peephole_i", "peephole_f"):
            other = "peephole_f" if part == "peephole_i" else "peephole_i"
            arrays[name] = weights.arrays[name.removesuffix(part) + other]
        elif part.startswith(("weight_", "bias", "norm_")) and part != "bias_hn" and not name.startswith("readout."):
            parts = np.split(array, gates)
            arrays[name] = np.concatenate([parts[1], parts[0], *parts[2:]])
        else:
            arrays[name] = array
    return Weights(weights.spec, arrays)


def _dropped_bias_hn(weights: Weights) -> Weights | None:
    """The bias inside the reset gate's product is forgotten."""
    if not any(name.endswith(".bias_hn") for name in weights.arrays):
        return None
    return _map(weights, lambda name, array: np.zeros_like(array) if name.endswith(".bias_hn") else array)


def _flipped_kernel(weights: Weights) -> Weights | None:
    """Convolution where cross-correlation is meant: every input kernel is flipped."""
    if all(
        array.shape[2:] == (1,) * len(array.shape[2:]) for name, array in weights.arrays.items() if "weight_ih" in name
    ):
        return None

    def flip(name: str, array: np.ndarray) -> np.ndarray:
        return np.flip(array, tuple(range(2, array.ndim))).copy() if "weight_ih" in name else array

    return _map(weights, flip)


def _wrong_reset(weights: Weights) -> Weights | None:
    """The reset gate acts after the recurrent convolution instead of before, or the other way round."""
    spec = weights.spec
    if spec.recurrent.cell != "gru":
        return None
    wrong: Spec
    if isinstance(spec, ForecasterSpec):
        decoder = None if spec.decoder is None else _other_reset(spec.decoder)
        wrong = replace(spec, encoder=_other_reset(spec.encoder), decoder=decoder)
    else:
        wrong = _other_reset(spec)
    nothing = np.zeros((), weights.dtype)  # what a bias_hn starts as where there was none
    shapes = parameter_shapes(wrong)
    arrays = {name: weights.arrays.get(name, np.broadcast_to(nothing, shape)) for name, shape in shapes.items()}
    return Weights(wrong, arrays)


def _other_reset(network: NetworkSpec) -> NetworkSpec:
    other = {"before": "after", "after": "before"}
    return replace(network, layers=tuple(replace(c, reset=other[c.reset or "before"]) for c in network.layers))


FAULTS: dict[str, Callable[[Weights], Weights | None]] = {
    "swapped-gates": _swapped_gates,
    "dropped-bias_hn": _dropped_bias_hn,
    "flipped-kernel": _flipped_kernel,
    "wrong-reset": _wrong_reset,
}
CONTROLS = {
    "swapped-gates": "lstm-2d",
    "dropped-bias_hn": "gru-after-2d",
    "flipped-kernel": "gru-before-2d",
    "wrong-reset": "gru-before-2d",
}
"""On which case each fault is tried."""


def plant(fault: str, weights: Weights) -> Weights | None:
    """The weights with a fault in them; None where the network has nothing to break in that way."""
    return FAULTS[fault](weights)


def _map(weights: Weights, change: Callable[[str, np.ndarray], np.ndarray]) -> Weights:
    return Weights(weights.spec, {name: change(name, array) for name, array in weights.arrays.items()})
