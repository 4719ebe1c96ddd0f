"""The Flax backend: build, extract, load, execute. Devices and precision are those of JAX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
from flax import nnx

from convgru.calls import Extras
from convgru.errors import WeightsError
from convgru.spec import ForecasterSpec, Spec
from convgru.spec.options import refuse_build_options
from convgru.spec.shapes import layer_prefix, nest_state, parameter_shapes, state_leaves
from convgru.weights import Weights
from convgru_flax.cells import CELLS, ConvCell
from convgru_flax.forecaster import Forecaster
from convgru_flax.stacks import STACKS, ConvStack
from convgru_jax import backend as on_jax

__all__ = [
    "build",
    "compiled_in",
    "devices",
    "execute",
    "extract",
    "load",
    "notes",
    "owns",
    "precise",
    "versions",
]

SEQUENCE_OPTIONS = ("time_major", "deterministic", "checkpoint_frames", "rngs")
METADATA = ("kernel_metadata", "recurrent_kernel_metadata", "bias_metadata")
OPTIONS = (*SEQUENCE_OPTIONS, "dtype", "method", *METADATA)
Network = ConvCell | ConvStack | Forecaster


def versions() -> dict[str, str]:
    """Versions of Flax, JAX and jaxlib."""
    return {"flax": flax.__version__, **on_jax.versions()}


def devices() -> dict[str, str]:
    """The devices of JAX."""
    return on_jax.devices()


def notes() -> list[str]:
    """Describe the implementation and the numerical settings in force: those of JAX."""
    return on_jax.notes()


def precise() -> AbstractContextManager[Any]:
    """Context in which float32 products and convolutions use no TF32, as on JAX."""
    return on_jax.precise()


def compiled_in(folder: Path) -> AbstractContextManager[None]:
    """Context in which XLA's compiled programs are kept in ``folder``, shared with JAX."""
    return on_jax.compiled_in(folder)


def owns(net: object) -> bool:
    """Return True if ``net`` is a module of convgru.flax."""
    return isinstance(net, Network)


def build(weights: Weights, *, cell: bool = False, device: str | None = None, **options: Any) -> Network:
    """Make the module with these weights, in training mode as any new nnx module.

    Args:
        weights: spec and arrays; the parameters get their bytes.
        cell: make a bare cell of a network of one layer.
        device: one of ``devices``.
        **options: of the constructor, but for those that describe the network: ``time_major``,
            ``dtype``, ``method``, ``deterministic``, ``checkpoint_frames``, ``rngs`` (to draw
            dropout from in training), ``kernel_metadata`` and so on.
    """
    spec, arrays = on_jax.build(weights, device=device)
    kinds: Any = CELLS if cell else STACKS
    kind: Any = Forecaster if isinstance(spec, ForecasterSpec) else kinds[spec.cell]
    refuse_build_options("flax", options, ("cell", "device", *OPTIONS))
    if cell and (refused := [name for name in options if name in SEQUENCE_OPTIONS]):
        raise ValueError(
            f'convgru.build(..., "flax", cell=True) has no {", ".join(refused)}: a cell takes one frame a call and drops nothing'
        )
    with on_jax.precision_of(weights.dtype):
        net: Network = kind.from_spec(spec, arrays=arrays, **options)
    return net


def extract(net: Any) -> Weights:
    """Return the weights of a module, byte for byte; a cell's as a network of one layer.

    Raises TypeError for any other module, WeightsError for numbers that are not finite or a module
    of nnx.eval_shape.
    """
    if not isinstance(net, Network):
        raise TypeError(f"extract expected a module of convgru.flax, got {type(net).__name__}")
    arrays = net.arrays(layer_prefix(0)) if isinstance(net, ConvCell) else net.arrays()
    abstract = next((name for name, array in arrays.items() if isinstance(array, jax.ShapeDtypeStruct)), None)
    if abstract is not None:
        raise WeightsError(
            f"extract expected a {type(net).__name__} that holds numbers, got one whose {abstract} is abstract "
            "(nnx.eval_shape): restore its state first"
        )
    return Weights(net.spec, {name: np.array(array) for name, array in arrays.items()})


def load(net: Network, weights: Weights) -> None:
    """Copy weights into a module's parameters in place: all of them or none.

    Each parameter keeps its sharding. Raises WeightsError for weights of another spec, dtype or
    shape.
    """
    prefix = layer_prefix(0) if isinstance(net, ConvCell) else ""
    flat = {prefix + ".".join(map(str, path)): (path, v) for path, v in nnx.to_flat_state(nnx.state(net, nnx.Param))}
    held = {name: (v.shape, str(v.dtype)) for name, (_, v) in flat.items()}
    weights.check_fit(type(net).__name__, net.spec, held)
    with on_jax.precision_of(weights.dtype):
        arrays = {n: _placed(a, flat[n][1][...]) for n, a in weights.arrays.items()}
        nnx.update(net, nnx.from_flat_state([(flat[n][0], flat[n][1].replace(a)) for n, a in arrays.items()]))


def _placed(array: np.ndarray, held: Any) -> jax.Array:
    """Return a copy of ``array`` where ``held`` is, and as free as it to go where others are."""
    copy = array.copy()  # device_put may alias NumPy's memory on CPU
    if getattr(held, "committed", True):
        placed: jax.Array = jax.device_put(copy, held.sharding)
        return placed
    with jax.default_device(*held.devices()):
        placed = jax.device_put(copy)
    return placed


def execute(
    weights: Weights,
    x: np.ndarray,
    state: Any = None,
    *,
    steps: int | None = None,
    extras: Extras | None = None,
    cotangents: tuple[np.ndarray, Any] | None = None,
    device: str = "cpu",
) -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
    """Run the module on NumPy arrays, in its default layout (B, T, *S, C).

    See ``convgru.registry.Backend``.
    """
    spec, target = weights.spec, on_jax.device(device)
    with on_jax.precision_of(weights.dtype), jax.default_device(target):
        graphdef, params = nnx.split(build(weights, device=device, deterministic=True))
        context, others = _others(spec, extras or Extras())

        def call(params: Any, x: Any, state: Any, context: Any) -> Any:
            given = others if context is None else {**others, "context": context}
            return _called(nnx.merge(graphdef, params), x, steps, state, given)

        # Neither jitted as a whole nor left uncommitted: the module then runs the programs that
        # convgru.jax has compiled.
        inputs = params, *jax.device_put((_to_flax(x), _convert(spec, state, _state_to_flax), context), target)
        if cotangents is None:
            (y, final), gradients = call(*inputs), None
        else:
            (y, final), pull = jax.vjp(call, *inputs)
            given = _to_flax(cotangents[0]), _convert(spec, cotangents[1], _state_to_flax)
            gradients = pull(jax.device_put(given, target))
        return _to_numpy(y), _convert(spec, final, _state_to_numpy), _gradients(spec, gradients)


def _others(spec: Spec, extras: Extras) -> tuple[list[np.ndarray] | None, dict[str, Any]]:
    """Convert the context and the other arguments to Flax's layout and argument names."""
    given = {name: getattr(extras, name) for name in extras.given if name != "context"}
    if "lengths" in given:
        given["seq_lengths"] = given.pop("lengths")
    if "masks" in given:
        given["masks"] = {name: np.moveaxis(a, -spec.ndim - 1, -1) for name, a in given["masks"].items()}
    if "targets" in given:
        given |= {"targets": _to_flax(given["targets"]), "forced": given["forced"].T}
    if extras.context is None:
        return None, given
    timed = [array.ndim > spec.ndim + 2 for array in extras.context]
    pairs = zip(timed, extras.context, strict=True)
    return [_to_flax(a) if many else _state_to_flax(a) for many, a in pairs], given


def _called(net: Any, x: Any, steps: Any, state: Any, given: dict[str, Any]) -> Any:
    if isinstance(net, Forecaster):
        return net(x, steps, state, **given)
    if steps is not None:
        raise TypeError(f"{net.spec.title} expected no steps: only a forecaster has a horizon, got steps={steps!r}")
    return net(x, state, **given)


def _gradients(spec: Spec, gradients: Any) -> dict[str, np.ndarray]:
    """Name the gradients of ``call`` as the backend protocol does, channels first."""
    if gradients is None:
        return {}
    params, x, state, context = gradients
    named = {"x": _to_numpy(x)}
    if state is not None:
        named |= dict(state_leaves(spec, _convert(spec, state, _state_to_numpy)))
    for index, a in enumerate(context or ()):
        named[f"context.{index}"] = _to_numpy(a) if a.ndim > spec.ndim + 2 else _state_to_numpy(a)
    arrays = dict(_by_path(params))
    return named | {name: np.array(arrays[name]) for name in parameter_shapes(spec)}


def _by_path(state: Any) -> Iterator[tuple[str, jax.Array]]:
    """Yield each variable of an nnx state by its path, joined with dots: the canonical name."""
    for path, variable in nnx.to_flat_state(state):
        yield ".".join(map(str, path)), variable[...]


def _convert(spec: Spec, state: Any, one: Any) -> Any:
    return None if state is None else nest_state(spec, {name: one(leaf) for name, leaf in state_leaves(spec, state)})


def _to_flax(x: np.ndarray) -> np.ndarray:
    """(T, B, C, *S) to (B, T, *S, C)."""
    return np.moveaxis(x, 2, -1).swapaxes(0, 1)


def _to_numpy(y: jax.Array) -> np.ndarray:
    """(B, T, *S, C) to (T, B, C, *S)."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(y).swapaxes(0, 1), -1, 2))


def _state_to_flax(h: np.ndarray) -> np.ndarray:
    return np.moveaxis(h, 1, -1)


def _state_to_numpy(h: jax.Array) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(np.asarray(h), -1, 1))
