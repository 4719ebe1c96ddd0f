"""The four backends by name, each imported on demand, and the protocols that they implement.

A room is one backend's package, ``convgru_torch`` for example: the code of one framework.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from convgru.errors import UnsupportedError as UnsupportedError

if TYPE_CHECKING:
    import numpy as np

    from convgru.calls import Extras
    from convgru.formats.contents import Contents
    from convgru.weights import Weights

ROOMS = {
    "torch": "convgru_torch",
    "jax": "convgru_jax",
    "flax": "convgru_flax",
    "mindspore": "convgru_mindspore",
}
FRAMEWORKS = {"torch": "PyTorch", "jax": "JAX", "flax": "Flax", "mindspore": "MindSpore"}


class Backend(Protocol):
    """What the module ``backend`` of each room provides: devices, networks, and running them.

    Arrays are NumPy's; x and y are (T, B, C, *S), states (B, H, *S).
    """

    def versions(self) -> dict[str, str]:
        """Return the versions of the framework and of the packages that it needs."""
        ...

    def devices(self) -> dict[str, str]:
        """Map each device that can be asked for (``"cpu"``, ``"cuda:0"`` …) to its description."""
        ...

    def notes(self) -> list[str]:
        """Return lines for ``convgru doctor``: implementation, precision and setup used here."""
        ...

    def owns(self, net: object) -> bool:
        """Return whether ``net`` is a network of this backend."""
        ...

    def build(self, weights: Weights, **options: Any) -> Any:
        """Make the native module (for JAX: spec and params) with these weights.

        The options are those of the native constructor.
        """
        ...

    def extract(self, net: Any) -> Weights:
        """Return the weights of what ``build`` returned, byte for byte."""
        ...

    def load(self, net: Any, weights: Weights) -> None:
        """Copy weights into a module's parameters in place, all or none. JAX has no modules."""
        ...

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
        """Run on NumPy arrays of the weights' dtype: output, final state, gradients.

        Runs the room's public module (what ``build`` returns), in the layout of the call that is
        its default. ``steps`` goes with forecasters; ``extras`` are the call's other arguments.
        With ``cotangents``, of the shapes of output and final state, the gradients of
        sum(cotangents · results) by name (``x``, ``state.0.h`` …, ``context.0`` … and every
        parameter); else an empty dict. TF32 is as the caller left it. Raises UnsupportedError.
        """
        ...

    def precise(self) -> Any:
        """Return a context manager that turns TF32 off and deterministic kernels on."""
        ...


class Checkpoints(Protocol):
    """The module ``checkpoint`` of each room, except JAX's: the framework's own files."""

    def contents(self, path: Path, file: BinaryIO | None = None) -> Contents:
        """Read every array of a checkpoint by flat name, and the specs of convgru's networks.

        ``file`` is the file at ``path`` if it is open already, and anyone may have written it with
        the framework. Values that are not arrays, and the state of optimisers, are left out. Raises
        WeightsError.
        """
        ...

    def write(self, weights: Weights, path: Path) -> None:
        """Write weights and their spec for the framework's loader, atomically."""
        ...

    def write_arrays(self, arrays: Mapping[str, np.ndarray], path: Path) -> None:
        """Write arrays of any names as the framework's own checkpoint. Atomic."""
        ...


def get(name: str) -> Backend:
    """Return the backend called ``name``.

    Raises ValueError if it is unknown, ImportError if its framework is missing.
    """
    if name not in ROOMS:
        raise ValueError(f"backend expected one of {', '.join(map(repr, ROOMS))}, got {name!r}")
    return cast("Backend", room(name, "backend"))


def checkpoints(name: str) -> Checkpoints:
    """Return the module that reads and writes a framework's own files.

    Raises ImportError if the framework is missing.
    """
    return cast("Checkpoints", room(name, "checkpoint"))


def room(name: str, module: str) -> Any:
    """Import a module of a backend's package.

    Raises ImportError, with the command that installs what is missing.
    """
    try:
        return importlib.import_module(f"{ROOMS[name]}.{module}")
    except ModuleNotFoundError as error:
        raise explain(name, error) from error


def explain(name: str, error: ModuleNotFoundError) -> ImportError:
    """Return the error for a user whose framework, or whose backend package, is not installed."""
    missing = (error.name or "").split(".")[0]
    if missing in ROOMS.values():
        return ImportError(f"convgru.{name} is not installed: in the checkout run  pip install -e '.[{name}]'")
    if missing in ("torch", "jax", "jaxlib", "flax", "mindspore"):
        return ImportError(f"convgru.{name} needs {FRAMEWORKS[name]}: pip install 'convgru[{name}]'")
    return error


def available() -> dict[str, Backend | str]:
    """Import all backends; map each name to its module, or to the reason why it is missing."""
    return {name: _get_or_reason(name) for name in ROOMS}


def owner_of(net: object) -> str:
    """Return the name of the backend that ``net`` belongs to. Raises TypeError if there is none."""
    for name, package in ROOMS.items():
        module = sys.modules.get(f"{package}.backend")
        if module is not None and cast("Callable[[object], bool]", module.owns)(net):
            return name
    for kind in type(net).__mro__:
        for name, package in ROOMS.items():
            if kind.__module__.split(".")[0] == package:
                return name
    raise TypeError(
        f"expected a network of convgru.{', convgru.'.join(ROOMS)}, got {type(net).__module__}.{type(net).__qualname__}"
    )


def _get_or_reason(name: str) -> Backend | str:
    try:
        return get(name)
    except ImportError as error:
        return str(error)
    except Exception as error:  # a framework may break in any way while it loads; its neighbours still work
        return f"{FRAMEWORKS[name]} does not load: {type(error).__name__}: {error}"
