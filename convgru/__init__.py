"""Convolutional recurrent networks, defined once, native in PyTorch, JAX, Flax and MindSpore."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from convgru.errors import UnsupportedError, WeightsError
from convgru.files import read, write
from convgru.importers import adopt
from convgru.initialization import init
from convgru.inspection import inspect as inspect
from convgru.port import build, extract, load, port
from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec, forecaster, network
from convgru.spec.shapes import parameter_shapes, state_shapes
from convgru.weights import Weights

if TYPE_CHECKING:
    from convgru import flax as flax
    from convgru import importers, parity, reference, registry, spec
    from convgru import jax as jax
    from convgru import mindspore as mindspore
    from convgru import torch as torch

__version__ = "0.1.0"

# Without ``inspect``, which would take the place of the standard module of that name under ``import
# *``.
__all__ = [
    "CellSpec",
    "ForecasterSpec",
    "NetworkSpec",
    "UnsupportedError",
    "Weights",
    "WeightsError",
    "adopt",
    "build",
    "extract",
    "forecaster",
    "importers",
    "init",
    "load",
    "network",
    "parameter_shapes",
    "parity",
    "port",
    "read",
    "reference",
    "registry",
    "spec",
    "state_shapes",
    "write",
]

_LAZY = ("flax", "jax", "mindspore", "parity", "reference", "torch")


def __getattr__(name: str) -> Any:
    """Import a submodule when it is first asked for: the faces load their frameworks."""
    if name in _LAZY:
        return importlib.import_module(f"convgru.{name}")
    raise AttributeError(f"module 'convgru' has no attribute {name!r}")


def __dir__() -> list[str]:
    faces = {"torch", "jax", "flax", "mindspore"}
    hidden = {
        "Any",
        "find_spec",
        "TYPE_CHECKING",
        "annotations",
        "importlib",
        *(name for name in faces if find_spec(name) is None),
    }
    return sorted({name for name in (*globals(), *_LAZY) if name not in hidden and name != "_LAZY"})
