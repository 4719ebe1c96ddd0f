"""Layer: a module that runs one layer in one direction over a whole sequence.

It is what torch's hooks and wrappers act on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from convgru.spec import NetworkSpec
from convgru.spec.describe import arguments
from convgru.spec.shapes import layer_prefix, nest_state, state_leaves, state_shapes
from convgru_torch.execution import AUTOMATIC, Execution
from convgru_torch.implementations import run_layer
from convgru_torch.parameters import LayerModule, check_parameters
from convgru_torch.winograd import summary


class Layer(LayerModule):
    """One layer of a stack in one direction: ``net.layers[l]["fwd"]`` or ``net.layers[l]["bwd"]``.

    A stack makes its layers and calls each of them once for a sequence. So whatever torch attaches
    to a module acts on a layer by itself: forward hooks, which see and may replace its sequence,
    ``torch.nn.utils.weight_norm`` and the like, parametrizations, ``fully_shard``, activation
    checkpointing, profilers.

    Whether masks are drawn is the stack's mode to say: ``net.train()`` and ``net.eval()``; that of
    a layer alone, ``layer.eval()``, changes nothing in a call of the stack.

    Args:
        spec: a network of this layer alone.
        reverse: whether it reads the sequence from its end.
        zoneout: the probability with which a number of the state keeps its old value, of which
            evaluation takes the mean.
        owner, index: how errors call the stack, and which of its layers this is.
        execution: how to compute.
        device, dtype: of the parameters, as everywhere in torch.

    Parameters: those of the cell (``convgru.torch.ConvGRUCell`` and so on).

    Attributes:
        ran: which implementation ran in the last call, and why no faster one; None before the first
            call, and what torch.compile compiled does not change it.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        *,
        reverse: bool = False,
        zoneout: float = 0.0,
        owner: str = "",
        index: int = 0,
        execution: Execution = AUTOMATIC,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(spec, device, dtype, execution)
        self.reverse, self.zoneout, self.keeps = reverse, zoneout, bool(zoneout)
        self.owner, self.prefix = owner or spec.title, layer_prefix(index, "bwd" if reverse else "fwd")

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        recurrent_mask: Tensor | None = None,
        zoneout_masks: Sequence[Tensor] | None = None,
        last_only: bool = False,
    ) -> tuple[Tensor, Any]:
        """Run over a sequence, time first whatever the stack's ``batch_first``.

        Args:
            x: (T, B, C, *S); in time order for either direction.
            state: h (B, H, *S), or (h, c) for an LSTM; None means zeros.
            valid: (T, B, 1, …) of bool: which frames are no padding; None: all.
            context: (B, G·H, *S) or (T, B, G·H, *S), added to the pre-activations of all G gates.
            recurrent_mask: (B, H, *S), multiplies h where it enters U.
            zoneout_masks: for each part of the state (T, B, H, *S), 1 where the old value is kept;
                None: zoneout's mean. Nothing is drawn here: the stack draws.
            last_only: return each sample's last valid output alone.

        Returns:
            The output (T, B, H, *S), output[t] belonging to frame t, or (B, H, *S) with
            ``last_only``; and the final state.

        Raises:
            ValueError: for an input, a parameter, or a state, of another shape.
            TypeError: for an input or a parameter that is no tensor, or a parameter not of the
                others' dtype.
            UnsupportedError: if ``execution`` insists on an implementation that does not apply.
        """
        self._check_input(x)
        arrays = self.current()
        dtype = check_parameters(self.owner, self.shapes, arrays, self.prefix)
        if state is None:
            shapes = state_shapes(self.spec, x.shape[1], x.shape[3:])
            dtype = self.execution.state_dtype or dtype
            zeros = {name: x.new_zeros(shape, dtype=dtype) for name, shape in state_leaves(self.spec, shapes)}
            (state,) = nest_state(self.spec, zeros)
        return run_layer(
            self.spec.layers[0],
            arrays,
            x,
            state,
            reverse=self.reverse,
            # A number that is read becomes an argument of a compiled program.
            zoneout=0.0 if torch.compiler.is_compiling() and not self.keeps else self.zoneout,
            valid=valid,
            context=context,
            recurrent_mask=recurrent_mask,
            zoneout_masks=zoneout_masks,
            last_only=last_only,
            execution=self.execution,
            ran=self.note,
        )

    def _check_input(self, x: Any) -> None:
        """Check what the stack passes on, which a hook may have replaced, or a user's own call."""
        spec, name = self.spec, f"{self.owner} {self.prefix[:-1]}"
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} expected an input that is a torch.Tensor, got {type(x).__name__}")
        if x.ndim != spec.ndim + 3 or x.shape[0] < 1 or x.shape[2] != spec.in_channels:
            axes = ", ".join(("T", "B", str(spec.in_channels), *"DHW"[-spec.ndim :]))
            raise ValueError(f"{name} expected an input of shape ({axes}), T at least 1, got {tuple(x.shape)}")

    def _check_execution(self, execution: Execution) -> None:
        """A layer of a stack computes as it can: the stack is checked as a whole."""

    def extra_repr(self) -> str:
        """The cell and its arguments, defaults left out, and what ran in the last call."""
        options: dict[str, Any] = {"reverse": True} if self.reverse else {}
        shown = arguments(self.spec.in_channels, self.spec, **options, **self.execution.changed())
        if self.execution.algorithm == "winograd":
            shown += f"; {summary(self.spec.layers[0])}"
        return f"{self.spec.cell!r}, {shown}" + ("" if self.ran is None else f"; ran: {self.ran}")
