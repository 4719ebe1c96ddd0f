"""Validate the arguments of a call, once for all frameworks.

The checks see shapes and names of dtypes only, so that traced arrays pass too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from convgru.spec import ForecasterSpec, Spec
from convgru.spec.fields import name_differences
from convgru.spec.shapes import (
    Shape,
    context_shapes,
    mask_shapes,
    parameter_shapes,
    patched_size,
    state_leaves,
    state_shapes,
)

AXES = {"T": "time", "B": "batch", "C": "channels"}


class ArrayInfo(NamedTuple):
    """Shape of an array and the name of its dtype, ``float32``."""

    shape: tuple[Any, ...]
    dtype: str


class CallSizes(NamedTuple):
    """Sizes of one call, and the parameters' dtype; ``time`` is 1 for a single frame."""

    time: Any
    batch: Any
    size: Shape
    dtype: str


@dataclass(frozen=True)
class Extras:
    """The optional arguments of a call in NumPy, for comparisons; time first, channels first.

    Attributes:
        lengths: (B,), the valid frames of each sample.
        context: For each layer and direction (B, G·H, *S) or (T, B, G·H, *S), added to the gates.
        masks: Of dropout and zoneout, named as ``mask_shapes`` says; None in evaluation.
        targets: (steps, B, C, *S), a forecaster's true frames.
        forced: (steps, B) of bool; where true, the next step reads the target (teacher forcing).
        resume: Whether a forecaster continues from the state that an earlier call returned.
    """

    lengths: np.ndarray | None = None
    context: Sequence[np.ndarray] | None = None
    masks: Mapping[str, np.ndarray] | None = None
    targets: np.ndarray | None = None
    forced: np.ndarray | None = None
    resume: bool = False

    @property
    def given(self) -> list[str]:
        """The names of the arguments that are given."""
        names = ("lengths", "context", "masks", "targets", "forced")
        return [name for name in names if getattr(self, name) is not None] + ["resume"] * bool(self.resume)

    def leaves(self) -> dict[str, np.ndarray]:
        """The arrays a gradient may be taken with respect to, by name (``context.0`` …)."""
        return {f"context.{i}": array for i, array in enumerate(self.context or ())}


def flags(owner: str, **given: object) -> tuple[bool, ...]:
    """Check options of a call that are True or False, numpy.bool_ included; return them as bool."""
    for name, value in given.items():
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{owner} expected {name} to be True or False, got {value!r}")
    return tuple(map(bool, given.values()))


@dataclass(frozen=True)
class Caller:
    """Checks one call of a network; holds how the framework describes its arrays and names them.

    Each method checks one argument. It raises TypeError for a value of the wrong kind or dtype and
    ValueError for one of the wrong size, naming the network, the argument, expected and given.

    Attributes:
        name: What errors call the network: ``ConvGRU``, ``ConvGRUCell``, the user's subclass.
        spec: What it computes.
        layout: The axes of its input, S standing for the spatial ones: TBCS, BTCS or BCS (one
            frame); TBSC, BTSC or BSC with channels last. States and contexts follow its channel
            axis, contexts and targets its order of time and batch; masks are time first always.
        describe: Shape and dtype of an array; None for no array, a text for one that will not do.
        kind: What the framework calls its arrays: ``a torch.Tensor``.
        accepts: Whether an array of the second dtype will do for parameters of the first.
        lengths_name: What the framework calls the argument ``lengths``.
    """

    name: str
    spec: Spec
    layout: str
    describe: Callable[[Any], ArrayInfo | str | None]
    kind: str = "an array"
    accepts: Callable[[str, str], bool] = operator.eq
    lengths_name: str = "lengths"

    def parameters(self, arrays: Mapping[str, Any]) -> str:
        """Check names, shapes and dtypes of the parameters; return the dtype that they share."""
        if not isinstance(arrays, Mapping):
            raise TypeError(f"{self.name} expected parameters by canonical name, got {type(arrays).__name__}")
        shapes = parameter_shapes(self.spec)
        if differences := name_differences(shapes, arrays):
            raise ValueError(f"{self.name} parameters: {differences}")
        dtype: str | None = None
        for name, shape in shapes.items():
            info = self._array(name, arrays[name])
            self._shape(name, shape, info)
            if dtype is not None and info.dtype != dtype:
                raise TypeError(
                    f"{self.name} expected one dtype for all parameters, got {dtype} and {info.dtype} ({name})"
                )
            dtype = info.dtype
        assert dtype is not None  # every network has parameters
        return dtype

    def input(self, x: Any, dtype: str) -> CallSizes:
        """Check axes, channels and dtype of the input; return the sizes of the call."""
        info = self._array("x", x)
        shape, ndim, axes = info.shape, self.spec.ndim, self.layout.replace("S", "DHW"[-self.spec.ndim :])
        if len(shape) != len(axes):
            raise ValueError(
                f"{self.name} expected an input of {len(axes)} axes ({', '.join(axes)}), got {len(shape)} (input shape {shape})"
            )
        channels = axes.index("C")
        if shape[channels] != self.spec.in_channels:
            raise ValueError(
                f"{self.name} expected {self.spec.in_channels} input channels on axis {channels}, "
                f"got {shape[channels]} (input shape {shape})"
            )
        for axis, letter in enumerate(axes):
            if letter != "B" and shape[axis] < 1:
                raise ValueError(
                    f"{self.name} expected at least 1 on axis {axis} ({AXES.get(letter, letter)}), "
                    f"got {shape[axis]} (input shape {shape})"
                )
        self._dtype("x", dtype, info)
        if "T" not in axes and self.spec.recurrent.bidirectional is not None:
            raise TypeError(f"{self.name} expected a whole sequence: its second direction starts at the last frame")
        time = shape[axes.index("T")] if "T" in axes else 1
        size = tuple(shape[self.layout.index("S") :][:ndim])
        if isinstance(self.spec, ForecasterSpec):
            patched_size(self.spec, size)
        return CallSizes(time, shape[axes.index("B")], size, dtype)

    def state(self, state: Any, sizes: CallSizes) -> tuple[Any, ...]:
        """Check an initial state (None: zeros); return the shapes of a state, channels first."""
        shapes = state_shapes(self.spec, sizes.batch, sizes.size)
        if state is None:
            return shapes
        entries = "one entry for each layer" + " and direction" * (self.spec.recurrent.bidirectional is not None)
        if not isinstance(state, (tuple, list)):
            raise TypeError(
                f"{self.name} expected a state that is a tuple of {len(shapes)} ({entries}), got {type(state).__name__}"
            )
        if len(state) != len(shapes):
            raise ValueError(f"{self.name} expected a state of {len(shapes)} ({entries}), got {len(state)}")
        for index, (shape, entry) in enumerate(zip(shapes, state, strict=True)):
            if isinstance(shape[0], tuple) and not (isinstance(entry, (tuple, list)) and len(entry) == 2):
                raise TypeError(f"{self.name} expected state[{index}] to be a pair (h, c), got {type(entry).__name__}")
        leaves = zip(state_leaves(self.spec, shapes), state_leaves(self.spec, state), strict=True)
        for (name, shape), (_, array) in leaves:
            _, entry, part = name.split(".")
            self._check(f"state[{entry}] ({part})", self._channels(shape), sizes.dtype, array)
        return shapes

    def lengths(self, lengths: Any, sizes: CallSizes) -> None:
        """Check number and dtype of lengths, and their values where Python can see them.

        It sees those of a list, a tuple or a NumPy array; ``length_values`` checks other arrays.
        """
        info = self.describe(lengths)
        values: np.ndarray | Sequence[int] | None = None
        if isinstance(lengths, (list, tuple)) and all(type(n) in (int, float, bool) for n in lengths):
            # In plain Python, which torch.compile traces.
            values, kinds = lengths, {type(n) for n in lengths}
            info = ArrayInfo((len(lengths),), "float64" if float in kinds else "bool" if bool in kinds else "int64")
        elif info is None or isinstance(lengths, np.ndarray):
            values = array = np.asarray(lengths)
            info = ArrayInfo(array.shape, str(array.dtype) if array.size else "int64")
        else:
            info = self._array(self.lengths_name, lengths)
        if info.shape != (sizes.batch,) or not info.dtype.startswith(("int", "uint")):
            raise ValueError(
                f"{self.name} expected {self.lengths_name} to be {sizes.batch} integers (one for each sample), "
                f"got {info.dtype} of shape {tuple(info.shape)}"
            )
        if values is not None:
            self.length_values(values, sizes)

    def length_values(self, values: np.ndarray | Sequence[int], sizes: CallSizes) -> None:
        """Check that lengths are from 0 to the number of frames."""
        given = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if any(n < 0 or n > sizes.time for n in given):
            expected = f"{self.lengths_name} from 0 to {sizes.time} (the time steps of the input)"
            raise ValueError(f"{self.name} expected {expected}, got {given}")

    def context(self, context: Any, sizes: CallSizes) -> None:
        """Check a context: for each layer and direction an array with or without time."""
        assert not isinstance(self.spec, ForecasterSpec)
        shapes = context_shapes(self.spec, sizes.batch, sizes.size)
        wanted = f"a context of {len(shapes)} arrays (one for each layer and direction)"
        if not isinstance(context, (tuple, list)):
            raise TypeError(f"{self.name} expected {wanted}, got {type(context).__name__}")
        if len(context) != len(shapes):
            raise ValueError(f"{self.name} expected {wanted}, got {len(context)}")
        for index, (shape, array) in enumerate(zip(shapes, context, strict=True)):
            name = f"context[{index}]"
            timed = len(self._array(name, array).shape) > len(shape)
            one = self._channels(shape)
            self._check(name, (*self._lead(sizes.time, sizes.batch), *one[1:]) if timed else one, sizes.dtype, array)

    def masks(self, masks: Any, sizes: CallSizes) -> None:
        """Check masks by name, shape and dtype."""
        assert not isinstance(self.spec, ForecasterSpec)
        if not isinstance(masks, Mapping):
            raise TypeError(
                f"{self.name} expected masks to be a mapping from names to arrays, got {type(masks).__name__}"
            )
        shapes = mask_shapes(self.spec, sizes.time, sizes.batch, sizes.size)
        if differences := name_differences(shapes, masks):
            raise ValueError(f"{self.name} masks: {differences}")
        for name, shape in shapes.items():
            self._check(f"mask {name}", self._channels(shape), sizes.dtype, masks[name])

    def steps(self, steps: Any) -> None:
        """Check a forecaster's horizon."""
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ValueError(
                f"{self.name} expected steps, how many frames to forecast, to be a positive integer, got {steps!r}"
            )

    def targets(self, targets: Any, forced: Any, sizes: CallSizes, steps: int, *, drawn: bool = False) -> None:
        """Check the arguments of teacher forcing; ``forced`` is None if ``drawn`` at random."""
        if targets is None and forced is None and not drawn:
            return
        if targets is None or (forced is None and not drawn):
            raise TypeError(f"{self.name} expected targets and forced together")
        lead = self._lead(steps, sizes.batch)
        frame = self._channels((sizes.batch, self.spec.in_channels, *sizes.size))
        self._check("targets", (*lead, *frame[1:]), sizes.dtype, targets)
        if forced is not None:
            info = self._array("forced", forced)
            self._shape("forced", lead, info)
            if info.dtype != "bool":
                raise TypeError(f"{self.name} expected forced of dtype bool, got {info.dtype}")

    def resume(self, resume: Any, state: Any, sizes: CallSizes) -> None:
        """Check that a forecaster can continue: it needs one frame, the last one, and a state."""
        flags(self.name, resume=resume)
        if resume and sizes.time != 1:
            raise ValueError(
                f"{self.name} expected one frame to resume from (the last of the call before), got {sizes.time}"
            )
        if resume and state is None:
            raise ValueError(f"{self.name} expected a state to resume from (what the call before returned), got None")

    def _lead(self, time: Any, batch: Any) -> tuple[Any, Any]:
        """Time and batch in the order of the layout."""
        return (batch, time) if self.layout.startswith("BT") else (time, batch)

    def _channels(self, shape: Shape) -> Shape:
        """A shape (…, C, *S) with its channels where the layout has them."""
        if self.layout.endswith("S"):
            return shape
        axis = len(shape) - self.spec.ndim - 1
        return (*shape[:axis], *shape[axis + 1 :], shape[axis])

    def _check(self, what: str, shape: Shape, dtype: str, array: Any) -> None:
        info = self._array(what, array)
        self._shape(what, shape, info)
        self._dtype(what, dtype, info)

    def _array(self, what: str, value: Any) -> ArrayInfo:
        info = self.describe(value)
        if not isinstance(info, ArrayInfo):
            raise TypeError(f"{self.name} expected {what} to be {self.kind}, got {info or type(value).__name__}")
        return info

    def _shape(self, what: str, shape: Shape, info: ArrayInfo) -> None:
        if tuple(info.shape) != tuple(shape):
            raise ValueError(f"{self.name} {what} expected shape {tuple(shape)}, got {tuple(info.shape)}")

    def _dtype(self, what: str, dtype: str, info: ArrayInfo) -> None:
        if not self.accepts(dtype, info.dtype):
            raise TypeError(f"{self.name} expected {what} of dtype {dtype} (that of its parameters), got {info.dtype}")
