"""Negative controls: faults planted on purpose, which a comparison worth the name must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convgru.spec import GATES, ForecasterSpec, NetworkSpec
from convgru.weights import Weights


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

    def swap(name: str, array: np.ndarray) -> np.ndarray:
        if name.startswith("readout.") or name.endswith(".bias_hn"):
            return array
        parts = np.split(array, gates)
        return np.concatenate([parts[1], parts[0], *parts[2:]])

    return _map(weights, swap)


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
    network = weights.spec.recurrent
    if network.cell != "gru":
        return None
    after = network.layers[0].reset == "before"
    layers = tuple(replace(layer, reset="after" if after else "before") for layer in network.layers)
    spec = NetworkSpec(layers)
    arrays = {name: array for name, array in weights.arrays.items() if not name.endswith(".bias_hn")}
    if after:
        arrays.update(
            {
                name.replace(".bias", ".bias_hn"): np.zeros_like(array[: len(array) // 3])
                for name, array in arrays.items()
                if name.endswith(".bias") and not name.startswith("readout.")
            }
        )
    if isinstance(weights.spec, ForecasterSpec):
        return Weights(replace(weights.spec, encoder=spec), arrays)
    return Weights(spec, arrays)


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
