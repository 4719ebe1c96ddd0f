"""Negative controls: faults planted in the weights on purpose, which the comparison must catch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convgru.spec import GATES, ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import parameter_shapes
from convgru.weights import Weights

CAUGHT = 10.0
"""Factor by which a planted fault must miss the budget."""


@dataclass(frozen=True)
class Control:
    """Result of planting one fault.

    Attributes:
        fault: its name in ``FAULTS``.
        case: the case it was planted in.
        backend: the backend that ran the faulty weights.
        dtype: the dtype they were in.
        ratio: error of the output over its budget.
        caught: whether the ratio is at least ``CAUGHT``.
    """

    fault: str
    case: str
    backend: str
    dtype: str
    ratio: float
    caught: bool


def _swapped_gates(weights: Weights) -> Weights | None:
    """Swap the first two gates (r and z, or i and f)."""
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
    """Set the bias inside the reset gate's product to zero."""
    if not any(name.endswith(".bias_hn") for name in weights.arrays):
        return None
    return _map(weights, lambda name, array: np.zeros_like(array) if name.endswith(".bias_hn") else array)


def _flipped_kernel(weights: Weights) -> Weights | None:
    """Flip every input kernel: convolution instead of cross-correlation."""
    if all(
        array.shape[2:] == (1,) * len(array.shape[2:]) for name, array in weights.arrays.items() if "weight_ih" in name
    ):
        return None

    def flip(name: str, array: np.ndarray) -> np.ndarray:
        return np.flip(array, tuple(range(2, array.ndim))).copy() if "weight_ih" in name else array

    return _map(weights, flip)


def _wrong_reset(weights: Weights) -> Weights | None:
    """Move the reset gate to the other side of the recurrent convolution."""
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
"""The case that each fault is planted in."""


def plant(fault: str, weights: Weights) -> Weights | None:
    """Plant a fault in weights; None if the network has nothing to break in that way."""
    return FAULTS[fault](weights)


def _map(weights: Weights, change: Callable[[str, np.ndarray], np.ndarray]) -> Weights:
    return Weights(weights.spec, {name: change(name, array) for name, array in weights.arrays.items()})
