"""What every module does before it computes: check shapes and dtypes, promote, and make initial parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from convgru.calls import check_dtype, check_input, check_state
from convgru.errors import UnsupportedError
from convgru.spec import NetworkSpec, Spec
from convgru.spec.fields import flag
from convgru.spec.shapes import parameter_shapes, state_leaves, state_shapes
from convgru.weights import DTYPES
from convgru_jax import compiled
from convgru_jax.convolution import CONVOLUTIONS
from convgru_jax.functional import detach as detach
from convgru_jax.parameters import initial_arrays

Arrays = Mapping[str, jax.Array]
Draw = Callable[[tuple[int, ...], Any], jax.Array]
Module = TypeVar("Module", bound=nnx.Module)


def usable(owner: str, dtype: Any) -> Any:
    """The NumPy dtype that ``dtype`` means, if networks can compute in it here and now.

    Raises TypeError for one that is not a floating-point dtype of networks, UnsupportedError for float64 while JAX's
    64-bit mode is off: JAX would silently make it float32.
    """
    found = jnp.dtype(dtype)
    if found.name not in DTYPES:
        raise TypeError(f"{owner} expected a dtype of {', '.join(DTYPES)}, got {found}")
    if jax.dtypes.canonicalize_dtype(found) != found:
        raise UnsupportedError(
            f"{owner}: JAX computes float64 only in 64-bit mode: jax.config.update('jax_enable_x64', True)"
        )
    return found


def check_method(owner: str, method: str) -> str:
    """``method``, if it is one of the JAX backend's: ``fast`` or ``plain``. Raises ValueError."""
    if method not in CONVOLUTIONS:
        raise ValueError(f"{owner} method expected one of {', '.join(map(repr, CONVOLUTIONS))}, got {method!r}")
    return method


def check_flags(owner: str, **flags: object) -> None:
    """Raise TypeError for an option of a constructor that is no bool."""
    for name, value in flags.items():
        flag(f"{owner} {name}", value)


def name_constructor(kind: Any) -> None:
    """Give a class a constructor of its own, like its base's, so that what Python says of wrong arguments names the class."""
    base = kind.__init__
    if "__init__" in vars(kind) or not isinstance(base, FunctionType):
        return
    own = FunctionType(base.__code__, base.__globals__, "__init__", base.__defaults__, base.__closure__)
    own.__kwdefaults__, own.__annotations__, own.__doc__ = base.__kwdefaults__, base.__annotations__, base.__doc__
    own.__qualname__, own.__module__ = f"{kind.__qualname__}.__init__", kind.__module__
    kind.__init__ = own


def check_kind(owner: str, kind: str, spec: object) -> None:
    """Raise unless ``spec`` describes a network of cells of that kind."""
    if not isinstance(spec, NetworkSpec):
        raise TypeError(f"{owner} expected a NetworkSpec, got {type(spec).__name__}")
    if spec.cell != kind:
        raise ValueError(f"{owner} expected a spec of cell {kind!r}, got {spec.cell!r}")


def given_or_initial(
    owner: str, spec: Spec, arrays: Mapping[str, Any] | None, rngs: object, param_dtype: Any
) -> Arrays:
    """The arrays given, checked against the spec and on JAX; without any, initial ones drawn from ``rngs``."""
    if arrays is None:
        return initial(owner, spec, rngs, param_dtype)
    # JAX may share memory with a NumPy array, which the caller may change.
    own = {name: array.copy() if isinstance(array, np.ndarray) else array for name, array in arrays.items()}
    return compiled.check_arrays(spec.title, parameter_shapes(spec), own)


def initial(owner: str, spec: Spec, rngs: object, param_dtype: Any) -> Arrays:
    """Initial arrays drawn from ``rngs``, by canonical name."""
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(f"{owner} expected rngs, an nnx.Rngs to draw the initial parameters from, got {rngs!r}")
    return initial_arrays(spec, rngs.params(), usable(owner, param_dtype))


def initial_state(owner: str, spec: Spec, input_shape: Sequence[int], dtype: Any, draw: Draw) -> tuple[Any, ...]:
    """A state for frames of ``input_shape`` (B, *S, C), each array made by ``draw(shape, dtype)``."""
    batch, size = check_input(owner, spec.in_channels, spec.ndim, input_shape, "BSC")

    def make(shape: Any) -> Any:
        pair = isinstance(shape[0], tuple)
        return tuple(map(make, shape)) if pair else draw((shape[0], *shape[2:], shape[1]), dtype)

    return tuple(map(make, state_shapes(spec, batch, size)))


def enter(
    owner: str, spec: Spec, arrays: Arrays, x: Any, state: Any, *, layout: str, dtype: Any
) -> tuple[Arrays, jax.Array, Any]:
    """Check a call and bring parameters, input and state to one dtype.

    With ``dtype`` None that is the parameters' own, and nothing is cast: another dtype is a TypeError. With a ``dtype``
    all three are cast to it, as Flax's own modules do. ``state`` is None or one entry for each layer, channels last.
    """
    for part in ("shape", "dtype"):
        if not hasattr(x, part):
            raise TypeError(f"{owner} expected an input array, got {type(x).__name__}")
    batch, size = check_input(owner, spec.in_channels, spec.ndim, x.shape, layout)
    own = usable(owner, next(iter(arrays.values())).dtype if dtype is None else dtype)
    if dtype is None:
        for name, array in arrays.items():
            check_dtype(owner, name, own, array.dtype)
        check_dtype(owner, "an input", own, x.dtype)
    if state is not None:
        check_state(owner, state_shapes(spec, batch, size), state, "BSC")
        if dtype is None:
            for name, leaf in state_leaves(spec, state):
                check_dtype(owner, name, own, leaf.dtype)
        state = _cast(tuple(tuple(entry) if isinstance(entry, list) else entry for entry in state), own)
    return _cast(dict(arrays), own), _cast(x, own), state


def cast(tree: Any, dtype: Any) -> Any:
    """What else a call brings, in the ``dtype`` of the module, if it has one. None, and what is no array, stays."""
    if dtype is None:
        return tree
    return jax.tree.map(lambda a: _cast(a, dtype) if hasattr(a, "dtype") else a, tree)


def _cast(tree: Any, dtype: Any) -> Any:
    def one(array: Any) -> Any:
        return array if isinstance(array, jax.Array) and array.dtype == dtype else jnp.asarray(array, dtype)

    return jax.tree.map(one, tree)


def as_class(kind: type[Module], made: nnx.Module) -> Module:
    """``made``, whose class is a base of ``kind`` or a sibling without attributes of its own, as a ``kind``.

    How ``from_spec`` gives an object of the class that it was called on, whose own constructor takes other arguments.
    """
    object.__setattr__(made, "__class__", kind)
    return made  # type: ignore[return-value]


def drawer(rngs: Any, carry_init: Any) -> Draw:
    """A function (shape, dtype) -> array that makes one part of a carry: zeros unless there is a ``carry_init``."""
    if carry_init is None:
        return lambda shape, dtype: jnp.zeros(shape, dtype)
    stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
    if stream is None:
        raise ValueError("initialize_carry expected rngs with carry_init, got None")
    return lambda shape, dtype: carry_init(stream(), shape, dtype)


def stream(owner: str, rngs: object) -> Any:
    """A stream of its own for a module to draw its masks from, as nnx.Dropout keeps one; None if there are no rngs."""
    if rngs is None:
        return nnx.data(None)
    if isinstance(rngs, nnx.Rngs):
        return rngs.dropout.fork()
    if isinstance(rngs, nnx.RngStream):
        return rngs.fork()
    raise TypeError(f"{owner} expected rngs, an nnx.Rngs or a stream of one, got {rngs!r}")


def key_of(owner: str, rngs: object) -> jax.Array:
    """A key to draw masks from: of an nnx.Rngs (its stream ``dropout``), of a stream, or the key itself. Raises ValueError for None."""
    if rngs is None:
        raise ValueError(
            f"{owner} expected rngs to draw dropout from, at construction or in the call: "
            "it is in training mode (deterministic=False; net.eval() for evaluation)"
        )
    key: Any = rngs
    if isinstance(rngs, nnx.Rngs):
        key = rngs.dropout()
    elif isinstance(rngs, nnx.RngStream):
        key = rngs()
    found: jax.Array = key
    return found
