"""What every module here shares: parameters with the canonical names, the checks of a call, and one line that describes it."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np

from convgru.calls import check_lengths
from convgru.errors import UnsupportedError
from convgru.initialization import init as init_weights
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.fields import flag
from convgru.spec.shapes import state_leaves
from convgru.weights import Weights
from convgru_mindspore.arguments import BFLOAT16, check_call, check_extras, check_teaching, dtype_name

DTYPES = {"float64": ms.float64, "float32": ms.float32, "float16": ms.float16}


def starting_weights(spec: Spec, dtype: Any, weights: Weights | None) -> Weights:
    """The given weights; else initial ones of ``convgru.init``, seeded from NumPy's generator, which ms.set_seed seeds too.

    Raises UnsupportedError for bfloat16, TypeError for any other dtype that weights cannot have, ValueError for weights of
    another network.
    """
    if weights is None:
        checked_dtype(dtype)
        seed = int(np.random.randint(0, 2**31))
        return init_weights(spec, seed, dtype_name(dtype))
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


def part_of(weights: Weights, spec: NetworkSpec, prefix: str, instead: str = "") -> Weights:
    """The weights whose names begin with ``prefix``, as weights of ``spec``, ``instead`` in its place."""
    arrays = {instead + name[len(prefix) :]: array for name, array in weights.arrays.items() if name.startswith(prefix)}
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
    _check_tensors(spec, dict(state_leaves(spec, state)))
    return ms.mutable(tuple(tuple(entry) if isinstance(entry, (tuple, list)) else entry for entry in state))


def checked_extras(
    spec: Spec, x: Any, seq_length: Any, context: Any, masks: Any, dtype: Any, layout: str
) -> tuple[Any, Any, Any]:
    """Check what else a call of a network from Python brings, and return it fit for graph mode.

    Raises ValueError or TypeError.
    """
    if seq_length is not None:
        time, batch = (x.shape[layout.index(axis)] for axis in "TB")
        values = seq_length.asnumpy() if isinstance(seq_length, ms.Tensor) else np.asarray(seq_length)
        check_lengths(spec.title, values, time, batch)
        seq_length = seq_length if isinstance(seq_length, ms.Tensor) else ms.Tensor(values.astype(np.int32))
    given = {f"context[{i}]": part for i, part in enumerate(context)} if isinstance(context, (tuple, list)) else {}
    given |= {f"mask {name}": part for name, part in masks.items()} if isinstance(masks, dict) else {}
    _check_tensors(spec, given)
    if context is not None or masks is not None:
        check_extras(spec, x, None, context, masks, dtype, layout)
    context = None if context is None else ms.mutable(tuple(context))
    return seq_length, context, None if not masks else ms.mutable(dict(masks))


def checked_teaching(
    spec: Spec, x: Any, steps: int, targets: Any, forced: Any, chance: Any, dtype: Any, layout: str
) -> tuple[Any, Any, Any]:
    """Check the teacher forcing of a call from Python, and return it fit for graph mode, the chance as a tensor.

    Raises ValueError or TypeError.
    """
    if isinstance(chance, bool) or not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
        raise ValueError(f"{spec.title} expected teacher_forcing to be a probability, got {chance!r}")
    if chance and forced is not None:
        raise TypeError(f"{spec.title} expected forced or teacher_forcing, got both")
    if chance and targets is None:
        raise TypeError(f"{spec.title} expected targets, for teacher_forcing={chance!r}")
    if not chance and (targets is None) != (forced is None):
        raise TypeError(f"{spec.title} expected targets and forced together")
    _check_tensors(spec, {n: a for n, a in (("targets", targets), ("forced", forced)) if a is not None})
    check_teaching(spec, x, steps, targets, forced, dtype, layout)
    return targets, forced, ms.Tensor(chance, ms.float32) if chance else None


def _check_tensors(spec: Spec, given: dict[str, Any]) -> None:
    for name, part in given.items():
        if not isinstance(part, ms.Tensor):
            raise TypeError(f"{spec.title} expected {name} to be a mindspore.Tensor, got {type(part).__name__}")


def describe(spec: Spec, dtype: Any, **options: Any) -> str:
    """One line: ``ConvGRU(2, [8, 4], kernel_size=3, reset='before', dtype=float32)``; what is as usual is left out."""
    network = spec.recurrent
    layers, first = network.layers, network.layers[0]
    parts = [str(spec.in_channels), repr(brief([layer.hidden_channels for layer in layers]))]
    parts.append(f"kernel_size={brief([layer.kernel_size for layer in layers])!r}")
    ones = [(1,) * network.ndim] * len(layers)
    for name, usual in (
        ("recurrent_kernel_size", [layer.kernel_size for layer in layers]),
        ("stride", ones),
        ("recurrent_stride", ones),
        ("dilation", ones),
        ("recurrent_dilation", [layer.dilation for layer in layers]),
        ("groups", [1] * len(layers)),
        ("padding", ["same"] * len(layers)),
        ("state_size", [None] * len(layers)),
    ):
        values = [getattr(layer, name) for layer in layers]
        if values != usual:
            parts.append(f"{name}={brief(values)!r}")
    both = network.bidirectional is not None
    told = {
        "ndim": None if network.ndim == 2 else network.ndim,
        "has_bias": None if first.bias else False,
        "reset": first.reset,
        "activation": None if first.activation == "tanh" else first.activation,
        "recurrent_activation": None if first.recurrent_activation == "sigmoid" else first.recurrent_activation,
        "padding_mode": None if first.padding_mode == "zeros" else first.padding_mode,
        "peephole": first.peephole,
        "norm": first.norm,
        "updates": first.updates or None,
        "bidirectional": network.bidirectional,
        "merge": network.merge if both else None,
        "dropout": network.dropout or None,
        "recurrent_dropout": network.recurrent_dropout or None,
        "zoneout": network.zoneout or None,
        "output_size": network.output_size,
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


def check_flags(title: str, **flags: object) -> None:
    """Raise TypeError for an option of the class called ``title`` that is no bool."""
    for name, value in flags.items():
        flag(f"{title} {name}", value)


def checked_cell(title: str, expected: str, spec: NetworkSpec) -> None:
    """Raise ValueError unless ``spec`` is of the cell that the class called ``title`` is for."""
    if spec.cell != expected:
        raise ValueError(f"{title} expected a spec of cell {expected!r}, got {spec.cell!r}")
