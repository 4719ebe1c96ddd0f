"""The checks of a call: shapes, dtypes, names; what passes is time first, and of the parameters' dtype where it is a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from convgru.calls import check_context, check_dtype, check_input, check_lengths, check_masks, check_shape, check_state
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import context_shapes, mask_shapes, nest_state, parameter_shapes, state_leaves, state_shapes
from convgru_torch.parameters import Precision

Arrays = Mapping[str, Tensor]
Teacher = tuple[Sequence[Tensor], Sequence[Tensor]]
"""For each step the true frame, and in which samples the next step reads it."""
CASTABLE = (torch.float32, torch.float16, torch.bfloat16)
"""What autocast casts; it leaves float64 alone."""


def time_first(x: Tensor, layout: str) -> Tensor:
    """The input in the order (T, B, C, *S)."""
    return x[None] if layout == "BCS" else x.transpose(0, 1) if layout == "BTCS" else x


def from_time_first(y: Tensor, layout: str) -> Tensor:
    """The inverse of ``time_first``."""
    return y[0] if layout == "BCS" else y.transpose(0, 1) if layout == "BTCS" else y


class Admission:
    """One call whose input has been checked; its methods check and convert the rest.

    ``owner`` is how errors call the network, ``precision`` that of its parameters, ``layout`` that of the input. Raises ValueError or
    TypeError, naming what is wrong.
    """

    def __init__(self, owner: str, spec: Spec, precision: Precision, x: Tensor, layout: str) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"{owner} expected an input that is a torch.Tensor, got {type(x).__name__}")
        self.owner, self.spec, self.layout, self.device = owner, spec, layout, x.device
        self.batch, self.size = check_input(owner, spec.in_channels, spec.ndim, x.shape, layout)
        self.dtype = precision.dtype
        on = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
        self.castable = (on or precision.sharded) and self.dtype in CASTABLE
        self.check_tensor("an input", x)
        self.x = time_first(x, layout)
        self.time = self.x.shape[0]

    def check_tensor(self, what: str, tensor: Any) -> None:
        """Raise TypeError unless it is a tensor of the parameters' dtype, or one that autocast, or FSDP's mixed precision, casts."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{self.owner} expected {what} that is a torch.Tensor, got {type(tensor).__name__}")
        if not (self.castable and tensor.dtype in CASTABLE):
            check_dtype(self.owner, what, self.dtype, tensor.dtype)

    def state(self, state: Any) -> tuple[Any, ...]:
        """The initial state, in the parameters' dtype; zeros for None."""
        shapes = state_shapes(self.spec, self.batch, self.size)
        if state is None:
            leaves = {n: self.x.new_zeros(s, dtype=self.dtype) for n, s in state_leaves(self.spec, shapes)}
        else:
            check_state(self.owner, shapes, state)
            leaves = dict(state_leaves(self.spec, state))
            for name, leaf in leaves.items():
                self.check_tensor(name, leaf)
        return nest_state(self.spec, {name: leaf.to(self.dtype) for name, leaf in leaves.items()})

    def valid(self, lengths: Any) -> Tensor | None:
        """Which frames are no padding: (T, B, 1, *1); None where all are."""
        if lengths is None:
            return None
        if isinstance(lengths, Tensor):
            self._check_lengths(lengths)
        else:
            if not torch.compiler.is_compiling():
                check_lengths(self.owner, lengths, self.time, self.batch)
            lengths = torch.as_tensor(lengths)
        times = torch.arange(self.time, device=self.device)
        inside: Tensor = times[:, None] < lengths.to(self.device)
        return inside.reshape(*inside.shape, *(1,) * (self.spec.ndim + 1))

    def _check_lengths(self, lengths: Tensor) -> None:
        """Kind and shape always; values where they can be had without waiting for a device, in no trace and no vmap."""
        if lengths.shape != (self.batch,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise ValueError(
                f"{self.owner} expected lengths to be {self.batch} integers (one for each sample), "
                f"got {lengths.dtype} of shape {tuple(lengths.shape)}"
            )
        if torch.compiler.is_compiling() or type(lengths) is not Tensor or lengths.device.type != "cpu":
            return
        try:
            values = lengths.numpy()
        except RuntimeError:  # what vmap hands around has no values
            return
        check_lengths(self.owner, values, self.time, self.batch)

    def context(self, context: Any, valid: Tensor | None) -> list[Tensor] | None:
        """The context, time first where it has time; what it says of padding is replaced by zeros."""
        if context is None:
            return None
        assert isinstance(self.spec, NetworkSpec)
        shapes = context_shapes(self.spec, self.batch, self.size)
        timed = self.spec.ndim + 3
        if isinstance(context, (tuple, list)):
            for index, tensor in enumerate(context):
                self.check_tensor(f"context[{index}]", tensor)
            flip = self.layout == "BTCS"
            context = [c.transpose(0, 1) if flip and c.ndim == timed else c for c in context]
        check_context(self.owner, shapes, context, self.time)
        if valid is None:
            return list(context)
        return [torch.where(valid, c, 0) if c.ndim == timed else c for c in context]

    def masks(self, masks: Any) -> Mapping[str, Tensor] | None:
        """The masks by name, as ``mask_shapes`` says."""
        if masks is None:
            return None
        assert isinstance(self.spec, NetworkSpec)
        check_masks(self.owner, mask_shapes(self.spec, self.time, self.batch, self.size), masks)
        for name, mask in masks.items():
            self.check_tensor(f"mask {name}", mask)
        return dict(masks)

    def teacher(self, targets: Any, forced: Any, steps: int) -> Teacher | None:
        """For each step the true frame, and in which samples the next step reads it."""
        if targets is None and forced is None:
            return None
        if targets is None or forced is None:
            raise TypeError(f"{self.owner} expected targets and forced together")
        assert isinstance(self.spec, ForecasterSpec)
        self.check_tensor("targets", targets)
        if not isinstance(forced, Tensor) or forced.dtype != torch.bool:
            kind = forced.dtype if isinstance(forced, Tensor) else type(forced).__name__
            raise TypeError(f"{self.owner} expected forced that is a torch.Tensor of torch.bool, got {kind}")
        swap = self.layout == "BTCS"
        targets, forced = (a.transpose(0, 1) if swap else a for a in (targets, forced))
        check_shape(f"{self.owner} targets", (steps, self.batch, self.spec.channels, *self.size), targets)
        check_shape(f"{self.owner} forced", (steps, self.batch), forced)
        forced = forced.to(self.device).reshape(steps, self.batch, *(1,) * (self.spec.ndim + 1))
        return targets.unbind(0), forced.unbind(0)


def dtype_of(owner: str, spec: Spec, arrays: Arrays) -> torch.dtype:
    """Check canonical parameters against the spec and return their dtype."""
    dtype: torch.dtype | None = None
    for name, shape in parameter_shapes(spec).items():
        if name not in arrays:
            raise ValueError(f"{owner} expected a parameter {name} of shape {shape}, got {sorted(arrays)}")
        array = arrays[name]
        if tuple(array.shape) != shape:
            raise ValueError(f"{owner} expected {name} of shape {shape}, got {tuple(array.shape)}")
        dtype = array.dtype if dtype is None else dtype
        check_dtype(owner, name, dtype, array.dtype)
    assert dtype is not None
    return dtype
