"""What every module here shares: parameters with the canonical names, the checks of a call, and one line that describes it."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np

from convgru import weights as core_weights
from convgru.registry import UnsupportedError
from convgru.shapes import state_leaves
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.weights import Weights
from convgru_mindspore.core import BFLOAT16, check_call, dtype_name

DTYPES = {"float64": ms.float64, "float32": ms.float32, "float16": ms.float16}


def starting_weights(spec: Spec, dtype: Any, weights: Weights | None) -> Weights:
    """The given weights; else initial ones of ``convgru.init``, seeded from NumPy's generator, which ms.set_seed seeds too.

    Raises UnsupportedError for bfloat16, TypeError for any other dtype that weights cannot have, ValueError for weights of
    another network.
    """
    if weights is None:
        checked_dtype(dtype)
        seed = int(np.random.randint(0, 2**31))
        return core_weights.init(spec, seed, dtype_name(dtype))
    if weights.spec != spec:
        raise ValueError(f"{spec.title} expected weights of its own spec, got those of {weights.spec!r}")
    checked_dtype(weights.dtype)
    return weights


def checked_dtype(dtype: Any) -> None:
    """Raise unless parameters of this dtype compute on CPU."""
    name = dtype_name(dtype)
    if name == "bfloat16":
        raise UnsupportedError(BFLOAT16)
    if name not in DTYPES:
        raise TypeError(f"dtype expected one of {', '.join(f'mindspore.{known}' for known in DTYPES)}, got {dtype!r}")


def parameter(array: np.ndarray, name: str) -> Any:
    """A MindSpore parameter that holds a copy of the array."""
    return ms.Parameter(ms.Tensor(np.array(array, order="C"), DTYPES[str(array.dtype)]), name=name)


def part_of(weights: Weights, spec: NetworkSpec, prefix: str) -> Weights:
    """The weights whose names begin with ``prefix``, as weights of ``spec`` (names without the prefix)."""
    arrays = {name[len(prefix) :]: array for name, array in weights.arrays.items() if name.startswith(prefix)}
    return Weights(spec, arrays)


def checked_call(spec: Spec, x: Any, state: Any, dtype: Any, layout: str) -> Any:
    """Check a call from Python and return the state fit for graph mode.

    There a plain tuple would be a constant of the graph and each new state would compile it again: hence ``mutable``.
    Raises ValueError, TypeError, UnsupportedError.
    """
    if not isinstance(x, ms.Tensor):
        raise TypeError(f"{spec.title} expected x to be a mindspore.Tensor, got {type(x).__name__}")
    check_call(spec, x, state, dtype, layout)
    if state is None:
        return None
    for name, part in state_leaves(spec, state):
        if not isinstance(part, ms.Tensor):
            raise TypeError(f"{spec.title} expected {name} to be a mindspore.Tensor, got {type(part).__name__}")
    return ms.mutable(tuple(tuple(entry) if isinstance(entry, (tuple, list)) else entry for entry in state))


def describe(spec: Spec, dtype: Any, **options: Any) -> str:
    """One line: ``ConvGRU(2, [8, 4], kernel_size=3, reset='before', dtype=float32)``; what is as usual is left out."""
    network = spec.encoder if isinstance(spec, ForecasterSpec) else spec
    layers, first = network.layers, network.layers[0]
    parts = [str(spec.in_channels), repr(brief([layer.hidden_channels for layer in layers]))]
    parts.append(f"kernel_size={brief([layer.kernel_size for layer in layers])!r}")
    for name, usual in (
        ("recurrent_kernel_size", [layer.kernel_size for layer in layers]),
        ("dilation", [(1,) * network.ndim] * len(layers)),
        ("recurrent_dilation", [layer.dilation for layer in layers]),
        ("padding", ["same"] * len(layers)),
    ):
        values = [getattr(layer, name) for layer in layers]
        if values != usual:
            parts.append(f"{name}={brief(values)!r}")
    told = {
        "ndim": None if network.ndim == 2 else network.ndim,
        "has_bias": None if first.bias else False,
        "reset": first.reset,
        "activation": None if first.activation == "tanh" else first.activation,
        **options,
    }
    parts += [f"{name}={value!r}" for name, value in told.items() if value is not None]
    title = f"Forecaster('{network.cell}', " if isinstance(spec, ForecasterSpec) else f"{spec.title}("
    return f"{title}{', '.join(parts)}, dtype={dtype_name(dtype)})"


def brief(values: list[Any]) -> Any:
    """The one value of all layers, as a number where it is the same in all dimensions; else the list."""
    short = [v[0] if isinstance(v, tuple) and len(set(v)) == 1 and isinstance(v[0], int) else v for v in values]
    alike = isinstance(values[0], tuple) and all(value == values[0] for value in values)
    return short[0] if alike or len(short) == 1 else short


def checked_cell(title: str, expected: str, spec: NetworkSpec) -> None:
    """Raise ValueError unless ``spec`` is of the cell that the class called ``title`` is for."""
    if spec.cell != expected:
        raise ValueError(f"{title} expected a spec of cell {expected!r}, got {spec.cell!r}")
