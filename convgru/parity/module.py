"""A user's network as a backend of the comparison."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from convgru import registry
from convgru.calls import ArrayInfo, Caller, Extras
from convgru.errors import UnsupportedError
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

TENSORS = ("numpy", "torch", "jax")


class Module:
    """A user's network: ``run(spec, arrays, x, state, **call) -> (output, state)``.

    Args:
        given: the function ``run``, an object with this method, or a class of such objects that
            takes no arguments.
        name: what the report calls it; the name of the function or class if None.

    ``run`` is called once for each case:

    - ``spec`` describes the network, ``arrays`` are its weights by canonical name.
    - ``x`` is (T, B, C, *S). ``state`` has one entry for each layer and direction, h or (h, c), of
      shape (B, H, *S); None is zeros. Output and final state have the same forms.
    - ``call`` holds the optional arguments of the case, as ``convgru.reference.run`` takes them. A
      function without a parameter for one of them declines the case.
    - It raises ``convgru.UnsupportedError`` to decline a case.

    Two attributes, of the function or the object, are optional:

    - ``tensors``: "numpy" (the default), "torch" or "jax", the arrays that ``run`` takes and
      returns. With torch and JAX its gradients are compared too.
    - ``gradients(spec, arrays, x, state, cotangents, **call)`` returns gradients by name, for a
      ``run`` in NumPy. Without it only outputs and states are compared.
    """

    def __init__(self, given: Any, name: str | None = None) -> None:
        self.name = name or str(getattr(given, "__qualname__", type(given).__qualname__))
        try:
            target = given() if isinstance(given, type) else given
        except SystemExit as stop:  # else the program would end here, perhaps with exit code 0
            raise ValueError(f"module {self.name}: making an object of it raised SystemExit: {stop}") from stop
        self.run: Callable[..., Any] = getattr(target, "run", target)
        if not callable(self.run):
            raise TypeError(
                f"module {self.name} expected a function run(spec, arrays, x, state) or an object with this method, "
                f"got {type(target).__name__}"
            )
        self.tensors: str = getattr(target, "tensors", "numpy")
        if self.tensors not in TENSORS:
            raise ValueError(f"module {self.name}: tensors expected one of {TENSORS}, got {self.tensors!r}")
        self.gradients: Callable[..., Any] | None = getattr(target, "gradients", None)

    @property
    def differentiates(self) -> bool:
        """Whether gradients can be compared."""
        return self.tensors != "numpy" or self.gradients is not None

    def versions(self) -> dict[str, str]:
        """Versions of the framework whose tensors it takes."""
        return {} if self.tensors == "numpy" else registry.get(self.tensors).versions()

    def precise(self) -> AbstractContextManager[Any]:
        """Return a context in which float32 means float32, without TF32."""
        return nullcontext() if self.tensors == "numpy" else registry.get(self.tensors).precise()

    def execute(
        self,
        weights: Weights,
        x: np.ndarray,
        state: Any = None,
        *,
        steps: int | None = None,
        extras: Extras | None = None,
        cotangents: tuple[np.ndarray, Any] | None = None,
        device: str = "cpu",
    ) -> tuple[np.ndarray, Any, dict[str, np.ndarray]]:
        """Run one case: output, final state, gradients. Raises UnsupportedError to decline it."""
        spec, extras = weights.spec, extras or Extras()
        call = {name: getattr(extras, name) for name in extras.given} | ({} if steps is None else {"steps": steps})
        self._check_signature(call)
        leaves = {
            "x": x,
            **({} if state is None else dict(state_leaves(spec, state))),
            **extras.leaves(),
            **weights.arrays,
        }

        def results_of(leaves: Mapping[str, Any]) -> dict[str, Any]:
            arrays = {name: leaves[name] for name in weights.arrays}
            begin = None if state is None else nest_state(spec, leaves)
            given = dict(call)
            if "context" in given:
                given["context"] = [leaves[name] for name in extras.leaves()]
            returned = self.run(spec, arrays, leaves["x"], begin, **given)
            return self._results(weights, x, returned)

        if self.tensors != "numpy":
            weighed = None if cotangents is None else _named(weights, *cotangents)
            results, slopes = registry.room(self.tensors, "backend").evaluate(results_of, leaves, weighed, device)
        else:
            results, slopes = results_of(leaves), {}
            if cotangents is not None and self.gradients is not None:
                slopes = dict(self.gradients(spec, weights.arrays, x, state, cotangents, **call))
        return results.pop("output"), nest_state(spec, results), slopes

    def _check_signature(self, call: Mapping[str, Any]) -> None:
        parameters = inspect.signature(self.run).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        if unknown := [name for name in call if name not in parameters]:
            raise UnsupportedError(f"{self.name} takes no {', '.join(unknown)}")

    def _results(self, weights: Weights, x: np.ndarray, returned: Any) -> dict[str, Any]:
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise TypeError(f"{self.name} expected run to return (output, state), got {type(returned).__name__}")
        caller = Caller(f"{self.name}, final state:", weights.spec, "TBCS", _describe, accepts=lambda a, b: True)
        caller.state(returned[1], caller.input(x, str(x.dtype)))
        return _named(weights, *returned)


def load(path: str) -> Module:
    """Import a module from ``package.module:name``.

    Raises:
        ValueError: the path has another form.
        ImportError: there is no such package or name, or importing it fails.
    """
    file, colon, name = path.partition(":")
    if not colon or not file or not name:
        raise ValueError(f"module expected package.module:name, got {path!r}")
    try:
        target: Any = importlib.import_module(file)
    except (Exception, SystemExit) as broken:  # a script's sys.exit() is no end of the comparison
        raise ImportError(f"module {path}: importing {file} raised {type(broken).__name__}: {broken}") from broken
    for part in name.split("."):
        if not hasattr(target, part):
            raise ImportError(f"module {path}: {file} has no {name}")
        target = getattr(target, part)
    return Module(target, path)


def as_module(given: Any) -> Module:
    """Make a Module from a Module, a path, or an object that runs."""
    if isinstance(given, Module):
        return given
    return load(given) if isinstance(given, str) else Module(given)


def _named(weights: Weights, output: Any, state: Any) -> dict[str, Any]:
    return {"output": output, **dict(state_leaves(weights.spec, state))}


def _describe(value: Any) -> ArrayInfo | None:
    return (
        ArrayInfo(tuple(value.shape), str(value.dtype)) if hasattr(value, "shape") and hasattr(value, "dtype") else None
    )
