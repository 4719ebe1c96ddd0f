"""The JAX backend: ``convgru.registry.Backend`` for networks given as pairs (spec, params)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from convgru.calls import Extras
from convgru.errors import UnsupportedError
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import nest_state, parameter_shapes, state_leaves
from convgru.weights import Weights
from convgru_jax import functional

Network = tuple[Spec, dict[str, jax.Array]]


def versions() -> dict[str, str]:
    """Versions of jax and jaxlib."""
    return {"jax": jax.__version__, "jaxlib": metadata.version("jaxlib")}


def devices() -> dict[str, str]:
    """Every device that JAX sees: ``cpu``, and ``cuda:0`` … where there are GPUs.

    JAX_PLATFORMS=cuda leaves out ``cpu``.
    """
    return {name: device.device_kind for name, device in _devices().items()}


def _devices() -> dict[str, Any]:
    cpus = _all("cpu")
    return ({"cpu": cpus[0]} if cpus else {}) | {f"cuda:{device.id}": device for device in _all("gpu")}


def _all(platform: str) -> list[Any]:
    try:
        return jax.devices(platform)
    except RuntimeError:  # JAX's way of saying that there is none, or that JAX_PLATFORMS leaves it out
        return []


def notes() -> list[str]:
    """Describe the implementation and the numerical settings in force, a line each."""
    precision = jax.config.jax_default_matmul_precision or "default (TF32 where a GPU has it)"  # type: ignore[attr-defined]
    return [
        "implementation: lax.scan over time; on CPU the input convolved frame by frame and gradients with "
        "XLA's fast convolution labels, on GPUs the input of all frames at once and XLA's own",
        f"float64: {'on' if x64_is_on() else 'off'} (jax_enable_x64)",
        f"float32 matmul and convolution precision: {precision}",
    ]


def x64_is_on() -> bool:
    """Return True if JAX computes in float64 at present."""
    return bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64)


def precision_of(dtype: np.dtype[Any]) -> AbstractContextManager[Any]:
    """Context in which JAX keeps arrays of this dtype: enables float64 if it is needed."""
    if dtype != np.float64 or x64_is_on():
        return nullcontext()
    scoped: AbstractContextManager[Any] = jax.enable_x64(True)
    return scoped


def precise() -> AbstractContextManager[Any]:
    """Context in which float32 products and convolutions use no TF32 and no bfloat16 passes."""
    highest: AbstractContextManager[Any] = jax.default_matmul_precision("highest")
    return highest


@contextmanager
def compiled_in(folder: Path) -> Iterator[None]:
    """Context in which XLA's compiled programs are read from and kept in ``folder``.

    Another process then need not compile them again.
    """
    wanted = {
        "jax_compilation_cache_dir": str(folder.absolute()),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    _configure(wanted)
    try:
        yield
    finally:
        _configure(before)


def _configure(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at the folder once, at its first compilation


def owns(net: object) -> bool:
    """Return True if ``net`` is a pair (spec, params) with JAX arrays."""
    if not isinstance(net, tuple) or len(net) != 2:
        return False
    spec, params = net
    kind = isinstance(spec, (NetworkSpec, ForecasterSpec)) and isinstance(params, dict)
    return kind and all(isinstance(array, jax.Array) for array in params.values())


def device(name: str) -> Any:
    """The device called ``name`` in ``devices``. Raises UnsupportedError for any other."""
    available = _devices()
    if name not in available:
        raise UnsupportedError(f"JAX has no device {name!r} here: only {', '.join(available)}")
    return available[name]


_find = device  # where an argument called device hides the function


def build(weights: Weights, *, device: str | None = None) -> Network:
    """Return (spec, params), the arrays byte for byte; option: ``device``, one of ``devices``.

    float64 arrays stay float64; JAX computes with them once jax_enable_x64 is on.
    """
    target = None if device is None else _find(device)
    with precision_of(weights.dtype):
        # device_put may alias NumPy's memory on CPU; the parameters must outlive a change of the
        # weights.
        params = {name: jax.device_put(array.copy(), target) for name, array in weights.arrays.items()}
    return weights.spec, params


def extract(net: Any) -> Weights:
    """Return the weights of a pair (spec, params), byte for byte.

    Raises TypeError for anything else, WeightsError for NaN.
    """
    if not owns(net):
        raise TypeError(f"expected a pair (spec, params) of convgru.jax, got {type(net).__name__}")
    spec, params = net
    return Weights(spec, {name: np.array(array) for name, array in params.items()})


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
    """Run ``apply`` or ``forecast`` on NumPy arrays; with ``cotangents`` return gradients too.

    Returns output, final state and gradients by name; see ``convgru.registry.Backend``.
    """
    spec, target = weights.spec, _find(device)
    leaves = {"x": np.moveaxis(x, 2, -1)}
    if state is not None:
        leaves |= {name: np.moveaxis(np.asarray(a), 1, -1) for name, a in state_leaves(spec, state)}
    extras = extras or Extras()
    leaves |= {name: np.moveaxis(a, -spec.ndim - 1, -1) for name, a in extras.leaves().items()}
    leaves |= weights.arrays
    others = _others(spec, extras)

    def call(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
        params = {name: leaves[name] for name in parameter_shapes(spec)}
        begin = None if state is None else nest_state(spec, leaves)
        if extras.context is not None:
            others["context"] = [leaves[name] for name in extras.leaves()]
        y, final = _public(spec, params, leaves["x"], steps, begin, others)
        return {"y": y, **dict(state_leaves(spec, final))}

    with precision_of(weights.dtype), jax.default_device(target):
        given = jax.device_put(leaves, target)
        gradients: dict[str, np.ndarray] = {}
        if cotangents is None:
            outputs = _to_numpy(call(given), spec.ndim)
        else:
            moved = {"y": np.moveaxis(cotangents[0], 2, -1)}
            moved |= {name: np.moveaxis(np.asarray(a), 1, -1) for name, a in state_leaves(spec, cotangents[1])}
            # Not jitted as a whole: convgru.flax then calls the very programs that are compiled
            # here.
            results, slopes = _pulled(call)(given, jax.device_put(moved, target))
            outputs, gradients = _to_numpy(results, spec.ndim), _to_numpy(slopes, spec.ndim)
    return outputs.pop("y"), nest_state(spec, outputs), gradients


def evaluate(
    call: Callable[[dict[str, jax.Array]], dict[str, jax.Array]],
    leaves: Mapping[str, np.ndarray],
    cotangents: Mapping[str, np.ndarray] | None,
    device: str = "cpu",
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Call any function of JAX arrays under jit.

    Returns the results and, with ``cotangents``, the gradients of the leaves.
    """
    target = _find(device)
    with precision_of(leaves["x"].dtype), jax.default_device(target):
        given = jax.device_put(dict(leaves), target)
        if cotangents is None:
            results, slopes = jax.jit(call)(given), {}
        else:
            results, slopes = jax.jit(_pulled(call))(given, jax.device_put(dict(cotangents), target))
        numpy = [{name: np.asarray(array) for name, array in arrays.items()} for arrays in (results, slopes)]
    return numpy[0], numpy[1]


def _others(spec: Spec, extras: Extras) -> dict[str, Any]:
    """The call's arguments besides state and context, channels last."""

    def last(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, -spec.ndim - 1, -1)

    given = {name: getattr(extras, name) for name in extras.given if name != "context"}
    if "masks" in given:
        given["masks"] = {name: last(mask) for name, mask in given["masks"].items()}
    if "targets" in given:
        given["targets"] = last(given["targets"])
    return given


def _public(
    spec: Spec, params: Any, x: jax.Array, steps: int | None, state: Any, others: dict[str, Any]
) -> tuple[jax.Array, functional.State]:
    if isinstance(spec, ForecasterSpec):
        return functional.forecast(spec, params, x, steps, state, **others)  # type: ignore[arg-type]
    if steps is not None:
        raise TypeError(f"{spec.title} expected no steps: only a forecaster has a horizon, got steps={steps!r}")
    return functional.apply(spec, params, x, state, **others)


def _pulled(call: Any) -> Any:
    """Make a function of leaves and cotangents: results of ``call`` and gradients of the leaves."""

    def both(leaves: Any, cotangents: Any) -> tuple[Any, Any]:
        results, pull = jax.vjp(call, leaves)
        return results, pull(cotangents)[0]

    return both


def _to_numpy(arrays: dict[str, jax.Array], ndim: int) -> dict[str, np.ndarray]:
    """Convert to NumPy, images channels first; parameters have one layout everywhere."""
    return {
        name: np.moveaxis(np.asarray(array), -1, -ndim - 1) if _is_image(name) else np.asarray(array)
        for name, array in arrays.items()
    }


def _is_image(name: str) -> bool:
    return name in ("x", "y") or name.startswith(("state.", "context."))
