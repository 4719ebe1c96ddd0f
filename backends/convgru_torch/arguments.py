"""Validate the arguments of a call and normalise them: time-major, batched, one dtype.

``convgru.calls.Caller`` does the checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convgru.calls import ArrayInfo, Caller, CallSizes
from convgru.spec import NetworkSpec, Spec
from convgru.spec.shapes import Shape, state_leaves, state_shapes
from convgru_torch.parameters import Precision
from convgru_torch.plans import planned

Arrays = Mapping[str, Tensor]
Teacher = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Per step: the true frame, and a mask of the samples whose next step reads it."""
CASTABLE = ("float32", "float16", "bfloat16")
"""Dtypes that autocast and FSDP's mixed precision cast; they leave float64 alone."""


def describe(value: Any) -> ArrayInfo | str | None:
    """Shape and dtype of a tensor, or why it is none to compute with; None for anything else."""
    if isinstance(value, ArrayInfo):
        return value
    if not isinstance(value, Tensor):
        return None
    if value.is_nested:
        return "a nested one: pad it with torch.nested.to_padded_tensor, and give lengths"
    if value.layout is not torch.strided:
        return f"one of layout {value.layout}: its to_dense() will do"
    return ArrayInfo(tuple(value.shape), _name(value.dtype))


def describe_numbers(value: Any) -> ArrayInfo | str | None:
    """As ``describe``, for calls whose input holds numbers: those of the meta device hold none."""
    if isinstance(value, Tensor) and value.device.type == "meta":
        return "one on the meta device, which holds no numbers"
    return describe(value)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def castable(parameters: str, given: str) -> bool:
    """Whether dtypes agree, or autocast or FSDP's mixed precision casts one to the other."""
    return parameters == given or (parameters in CASTABLE and given in CASTABLE)


def _same(parameters: str, given: str) -> bool:
    """Whether dtypes agree: a function of Python, which torch.compile can rebuild."""
    return parameters == given


def parameters_precision(owner: str, spec: Spec, arrays: Arrays, state_dtype: torch.dtype | None = None) -> Precision:
    """Check canonical parameters against the spec and return their precision."""
    Caller(owner, spec, "TBCS", describe, "a torch.Tensor").parameters(arrays)
    return Precision(next(iter(arrays.values())).dtype, state_dtype=state_dtype)


class _Plan(NamedTuple):
    """What the spec and the shape and dtype of an input say about a call."""

    caller: Caller
    sizes: CallSizes
    batched: bool
    shapes: tuple[Shape, ...]
    """Of the arrays of a state, one after the other."""
    pairs: bool
    """Whether an entry of the state is two of them, (h, c)."""


@planned
def _plan(
    owner: str,
    spec: Spec,
    layout: str,
    shape: Shape,
    dtype: torch.dtype,
    parameters: torch.dtype,
    casts: bool,
    meta: bool,
) -> _Plan:
    """Check the input; ``casts`` says whether autocast or FSDP will cast what is castable.

    ``meta`` says whether it is on the meta device.
    """
    batched = _is_batched(owner, spec, layout, shape)
    if not batched:
        axis = layout.index("B")
        shape = (*shape[:axis], 1, *shape[axis:])
    describes = describe if meta else describe_numbers
    caller = Caller(owner, spec, layout, describes, "a torch.Tensor", castable if casts else _same)
    sizes = caller.input(ArrayInfo(shape, _name(dtype)), _name(parameters))
    states = state_shapes(spec, sizes.batch, sizes.size)
    pairs = spec.recurrent.cell == "lstm"
    return _Plan(caller, sizes, batched, tuple(shape for _, shape in state_leaves(spec, states)), pairs)


def _is_batched(owner: str, spec: Spec, layout: str, shape: Shape) -> bool:
    axes = layout.replace("S", "DHW"[-spec.ndim :])
    if len(shape) not in (len(axes), len(axes) - 1):
        single = ", ".join(axes.replace("B", ""))
        raise ValueError(
            f"{owner} expected an input of {len(axes)} axes ({', '.join(axes)}), or unbatched of {len(axes) - 1} "
            f"({single}), got {len(shape)} (input shape {shape})"
        )
    return len(shape) == len(axes)


class CheckedCall:
    """Validates one call's arguments and converts them; converts the results back to its layout.

    The input is checked first, when this is made; its methods check and convert the other
    arguments.

    Args:
        owner: how errors call the network.
        spec: what it computes.
        precision: of its parameters.
        x: the input, in the axes of ``layout`` (TBCS, BTCS, or BCS for one frame), or without its
            batch axis.

    Attributes:
        x: the input, (T, B, C, *S).
        batched: whether it came with a batch axis; without it neither have state, context, targets
            and results.

    Raises:
        ValueError, TypeError: for an argument that does not fit, naming it
            (``convgru.calls.Caller``).
    """

    def __init__(self, owner: str, spec: Spec, precision: Precision, x: Any, layout: str) -> None:
        self.owner, self.spec, self.layout, self.dtype = owner, spec, layout, precision.dtype
        self.state_dtype = precision.state
        if torch.promote_types(self.dtype, self.state_dtype) != self.state_dtype:
            raise TypeError(
                f"{owner} expected a state_dtype that holds its parameters' {_name(self.dtype)}, got {_name(self.state_dtype)}"
            )
        if not isinstance(x, Tensor) or x.layout is not torch.strided or x.is_nested:
            Caller(owner, spec, layout, describe, "a torch.Tensor").input(x, _name(precision.dtype))
        meta = x.device.type == "meta"
        casts = (not meta and torch.is_autocast_enabled(x.device.type)) or precision.sharded
        self.plan = _plan(owner, spec, layout, tuple(x.shape), x.dtype, precision.dtype, casts, meta)
        self._caller, self.sizes, self.batched = self.plan.caller, self.plan.sizes, self.plan.batched
        self.x, self.device = self._time_first(self._with_batch(x)), x.device

    def _with_batch(self, array: Any, axis: int | None = None) -> Any:
        """Add a batch axis of size 1 to a tensor; what is not a tensor is left for the checks."""
        if self.batched or not isinstance(array, Tensor):
            return array
        return array.unsqueeze(self.layout.index("B") if axis is None else axis)

    def _time_first(self, array: Tensor) -> Tensor:
        """Transpose an array from the layout of the call to (T, B, …)."""
        return array[None] if self.layout == "BCS" else self._swapped(array)

    def _swapped(self, array: Tensor) -> Tensor:
        return array.transpose(0, 1) if self.layout == "BTCS" else array

    def output(self, y: Tensor) -> Tensor:
        """Convert an output (T, B, …) to the layout of the call, unbatched if the input was."""
        if not self.batched:
            y = y[:, 0]
            return y[0] if self.layout == "BCS" else y
        return y[0] if self.layout == "BCS" else self._swapped(y)

    def last_output(self, y: Tensor) -> Tensor:
        """Convert an output (B, …), which has no time axis."""
        return y if self.batched else y[0]

    def final(self, state: Sequence[Any]) -> tuple[Any, ...]:
        """The final state, without the batch axis if the input had none."""
        if self.batched:
            return tuple(state)
        return tuple(tuple(part[0] for part in entry) if isinstance(entry, tuple) else entry[0] for entry in state)

    def state(self, state: Any) -> tuple[Any, ...]:
        """The initial state, batched, in the parameters' dtype; zeros for None."""
        if isinstance(state, (tuple, list)) and not self.batched:
            add = partial(self._with_batch, axis=0)
            state = tuple(tuple(map(add, each)) if isinstance(each, (tuple, list)) else add(each) for each in state)
        plan, dtype = self.plan, self.state_dtype
        if state is None:
            leaves = [self.x.new_zeros(shape, dtype=dtype) for shape in plan.shapes]
        else:
            leaves = flat if (flat := self._fitting(state)) is not None else self._checked(state)
        return tuple(zip(leaves[::2], leaves[1::2], strict=True)) if plan.pairs else tuple(leaves)

    def _fitting(self, state: Any) -> list[Any] | None:
        """The arrays of a state that fits as it is, which most do; None for another."""
        plan = self.plan
        if type(state) not in (tuple, list) or len(state) * (1 + plan.pairs) != len(plan.shapes):
            return None
        if plan.pairs and any(type(entry) not in (tuple, list) or len(entry) != 2 for entry in state):
            return None
        leaves = [part for entry in state for part in entry] if plan.pairs else list(state)
        for leaf, shape in zip(leaves, plan.shapes, strict=True):
            if not isinstance(leaf, Tensor) or leaf.dtype != self.state_dtype or leaf.device != self.device:
                return None
            if leaf.layout is not torch.strided or leaf.is_nested or leaf.shape != shape:
                return None
        return leaves

    def _checked(self, state: Any) -> list[Any]:
        """The arrays of a state that may be wrong, or of another dtype that will do."""
        caller, wide = self._caller, _name(self.state_dtype)
        if self.state_dtype != self.dtype:
            caller = replace(
                caller, accepts=lambda parameters, given: given == wide or self._caller.accepts(parameters, given)
            )
        caller.state(state, self.sizes)
        return [leaf.to(self.state_dtype) for _, leaf in state_leaves(self.spec, state)]

    def valid(self, lengths: Any) -> Tensor | None:
        """Mask (T, B, 1, *1) of the frames that are no padding; None if all are valid."""
        if lengths is None:
            return None
        if not self.batched:
            raise ValueError(f"{self.owner} expected no lengths with an unbatched input: it has no padding")
        self._caller.lengths(lengths, self.sizes)
        self._check_values(lengths)
        if isinstance(lengths, np.ndarray):
            lengths = lengths.copy()  # torch takes no negative strides
        lengths = torch.as_tensor(lengths, device=self.device)
        times = torch.arange(self.sizes.time, device=self.device)
        inside: Tensor = times[:, None] < lengths.to(times.dtype)  # torch compares no uint16 with others
        return inside.reshape(*inside.shape, *(1,) * (self.spec.ndim + 1))

    def _check_values(self, lengths: Any) -> None:
        """Check a tensor's values on the CPU, where it waits for no device; in no trace or vmap."""
        if torch.compiler.is_compiling() or type(lengths) is not Tensor or lengths.device.type != "cpu":
            return
        try:
            values = lengths.numpy()
        except RuntimeError:  # a batched tensor of vmap has no values
            return
        self._caller.length_values(values, self.sizes)

    def context(self, context: Any, valid: Tensor | None) -> list[Tensor] | None:
        """The context, batched, time first where it has time, zeros in the padding."""
        if context is None:
            return None
        timed = self.spec.ndim + 3
        if isinstance(context, (tuple, list)) and not self.batched:
            context = [self._with_batch(c, None if getattr(c, "ndim", 0) == timed - 1 else 0) for c in context]
        self._caller.context(context, self.sizes)
        ordered = [self._swapped(c) if c.ndim == timed else c for c in context]
        if valid is None:
            return ordered
        return [torch.where(valid, c, 0) if c.ndim == timed else c for c in ordered]

    def masks(self, masks: Any) -> Mapping[str, Tensor] | None:
        """The masks by name, as ``mask_shapes`` says; of an unbatched call with a batch of 1."""
        if masks is None:
            return None
        assert isinstance(self.spec, NetworkSpec)
        self._caller.masks(masks, self.sizes)
        return dict(masks)

    def horizon(self, steps: Any, resume: Any, state: Any) -> None:
        """Check a forecaster's number of steps, and whether it can resume."""
        self._caller.steps(steps)
        self._caller.resume(resume, state, self.sizes)

    def teacher(self, targets: Any, forced: Any, teacher_forcing: Any, steps: int, training: bool) -> Teacher | None:
        """Return per step the true frame and the samples whose next step reads it, or None.

        The samples are those of ``forced``, or drawn with probability ``teacher_forcing`` in
        training.
        """
        number = isinstance(teacher_forcing, (int, float)) and not isinstance(teacher_forcing, bool)
        if not number or not 0 <= teacher_forcing <= 1:
            raise ValueError(f"{self.owner} expected teacher_forcing to be a probability, got {teacher_forcing!r}")
        if teacher_forcing and forced is not None:
            raise TypeError(f"{self.owner} expected forced or teacher_forcing, got both")
        if teacher_forcing and targets is None:
            raise TypeError(f"{self.owner} expected targets, for teacher_forcing={teacher_forcing!r}")
        targets, forced = (self._with_batch(array) for array in (targets, forced))
        self._caller.targets(targets, forced, self.sizes, steps, drawn=bool(teacher_forcing))
        if targets is None:
            return None
        shape = (steps, self.sizes.batch)
        if forced is not None:
            forced = self._swapped(forced).to(self.device)
        elif training:
            forced = torch.rand(shape, device=self.device) < teacher_forcing
        else:
            forced = torch.zeros(shape, dtype=torch.bool, device=self.device)
        return self._swapped(targets).unbind(0), forced.reshape(*shape, *(1,) * (self.spec.ndim + 1)).unbind(0)
