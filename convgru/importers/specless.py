"""convgru's own arrays without the spec that went with them: names and shapes say what they can, hints the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from convgru.errors import WeightsError
from convgru.spec import NetworkSpec, network

FIRST = re.compile(r"(|.*\.)layers\.0\.fwd\.weight_hh", re.DOTALL)
OURS = re.compile(r"(?:.*\.)?layers\.\d+\.(?:fwd|bwd)\.(?:updates\.\d+\.)?\w+", re.DOTALL)
LAYOUT = "convgru"
"""How a caller asks for it: what the arrays cannot tell is never assumed in silence."""
ADVICE = (
    f"arrays of convgru's own without the spec that goes with them: layout={LAYOUT!r} reads them, with the defaults of convgru.network for what "
    "leaves no trace in arrays (stride, dilation, padding, activation, dropout, merge), or with hints named as its arguments"
)
CELLS = {1: "rnn", 3: "gru", 4: "lstm"}


def is_ours(name: str) -> bool:
    """Whether an array of this name is a parameter of a layer of convgru's."""
    return OURS.fullmatch(name) is not None


def prefixes(names: Iterable[str]) -> list[str]:
    """How the names of each network begin whose arrays are called as convgru calls them."""
    return sorted(match[1] for match in map(FIRST.fullmatch, names) if match)


def spec_of(shapes: Mapping[str, tuple[int, ...]], hints: Mapping[str, Any]) -> NetworkSpec:
    """The spec of a network by the shapes of its arrays. Raises WeightsError.

    ``hints`` are arguments of ``convgru.network``: stride, padding, activations and the like leave no trace in the arrays, and have
    its defaults otherwise.
    """
    try:
        return network(**{**_arguments(shapes, hints), **hints})
    except (ValueError, TypeError, KeyError, ZeroDivisionError) as error:
        raise WeightsError(
            f"a network of convgru without its spec: {error}; hints are arguments of convgru.network"
        ) from None


def _arguments(shapes: Mapping[str, tuple[int, ...]], hints: Mapping[str, Any]) -> dict[str, Any]:
    """What the shapes tell of the arguments of ``network``."""
    if "layers.0.fwd.norm_weight" in shapes and "norm" not in hints:
        raise ValueError("norm expected a hint, for its groups leave no trace")
    count = 1 + max(int(name.split(".")[1]) for name in shapes if re.match(r"layers\.\d", name))
    weights = [[shapes[f"layers.{index}.fwd.weight_{part}"] for part in ("ih", "hh")] for index in range(count)]
    groups = hints.get("groups", 1)
    of = groups if isinstance(groups, list) else [groups] * count
    hidden = [hh[1] * n for (_, hh), n in zip(weights, of, strict=True)]
    gates = weights[0][0][0] // hidden[0]
    if gates not in CELLS or gates * hidden[0] != weights[0][0][0]:
        raise ValueError(f"expected 1, 3 or 4 gates of {hidden[0]} channels, got {weights[0][0][0]} rows")
    told = {
        "cell": CELLS[gates],
        "in_channels": weights[0][0][1] * of[0],
        "hidden_channels": hidden,
        "kernel_size": [ih[2:] for ih, _ in weights],
        "recurrent_kernel_size": [hh[2:] for _, hh in weights],
        "ndim": len(weights[0][0]) - 2,
        "bias": "layers.0.fwd.bias" in shapes,
    }
    if "layers.0.fwd.bias_hn" in shapes:
        told["reset"] = "after"
    if "layers.0.bwd.weight_hh" in shapes:
        both = count > 1 and weights[1][0][1] * of[1] == 2 * hidden[0]
        told["bidirectional"] = "layer" if both or count == 1 else "stack"
    peephole = shapes.get("layers.0.fwd.peephole_i")
    if peephole is not None:
        conv = peephole[1:] == weights[0][1][1:]
        told["peephole"] = "conv" if conv else "hadamard"
        if not conv and set(peephole[1:]) != {1}:
            told["state_size"] = [shapes[f"layers.{index}.fwd.peephole_i"][1:] for index in range(count)]
    return told
