"""Specs: frozen descriptions of networks, which all backends, files and tools share."""

from convgru.spec.builders import Ints, forecaster, network
from convgru.spec.cell import ACTIVATIONS, GATES, NORMED, PEEPHOLES, RESETS, TITLES, CellSpec, Norm
from convgru.spec.json_text import from_json, to_json
from convgru.spec.networks import BIDIRECTIONAL, MERGES, ForecasterSpec, NetworkSpec, Spec

__all__ = [
    "ACTIVATIONS",
    "BIDIRECTIONAL",
    "GATES",
    "MERGES",
    "NORMED",
    "PEEPHOLES",
    "RESETS",
    "TITLES",
    "CellSpec",
    "ForecasterSpec",
    "Ints",
    "NetworkSpec",
    "Norm",
    "Spec",
    "forecaster",
    "from_json",
    "network",
    "to_json",
]
