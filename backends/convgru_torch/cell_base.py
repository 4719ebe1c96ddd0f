"""Cell, the base of ConvGRUCell, ConvLSTMCell and ConvRNNCell: one layer, one frame a call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from convgru.spec import Ints, NetworkSpec, network
from convgru.spec.describe import arguments
from convgru_torch import hub
from convgru_torch.execution import Execution, ExecutionOptions
from convgru_torch.functional import call_network
from convgru_torch.implementations import run_layer
from convgru_torch.options import DEFAULTS
from convgru_torch.parameters import LayerModule, Precision, check_parameters, zero_state
from convgru_torch.winograd import summary

if TYPE_CHECKING:
    from typing import Self, Unpack  # new in 3.11; the room itself also runs on 3.10


class Cell(LayerModule):
    """One layer that takes one frame a call; its ``spec`` is a network of that layer alone."""

    kind: ClassVar[str]

    def __init__(
        self, in_channels: int, hidden_channels: int, kernel_size: Ints | None, ndim: int, **options: Any
    ) -> None:
        module_options = {name: options.pop(name) for name in list(options) if name in DEFAULTS}
        self._build(
            network(self.kind, in_channels, hidden_channels, kernel_size, ndim=ndim, **options), **module_options
        )

    def _build(self, spec: NetworkSpec, device: Any = None, dtype: torch.dtype | None = None, **execution: Any) -> None:
        if spec.cell != self.kind or spec != NetworkSpec(spec.layers[:1]):
            raise ValueError(f"{type(self).__name__} expected a spec of one {self.kind} layer, got {spec}")
        LayerModule.__init__(self, spec, device, dtype, Execution(**execution))

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec,
        *,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **execution: Unpack[ExecutionOptions],
    ) -> Self:
        """Make the cell that a one-layer spec describes. Raises ValueError for another spec."""
        self: Self = hub.new(cls, spec, **execution)
        self._build(spec, device, dtype, **execution)
        return self

    def forward(self, x: Tensor, state: Any = None, *, context: Tensor | None = None) -> Any:
        """Take one frame and return the new state alone, as torch.nn.GRUCell and LSTMCell do.

        So ``h = cell(x, h)`` for a GRU or RNN (``y, state = cell(x)`` would unpack the batch) and
        ``h, c = cell(x, (h, c))`` for an LSTM. ``step`` returns the pair (output, state), as the
        stacks do.

        Args:
            x: (B, C, *S), or unbatched (C, *S).
            state: h (B, H, *S), or (h, c) for an LSTM, unbatched with x; None means zeros.
            context: (B, G·H, *S), added to the pre-activations of all G gates.

        Returns:
            h' (B, H, *S), or (h', c') for an LSTM, unbatched if x is.

        Raises:
            ValueError: for a shape that does not fit.
            TypeError: for a dtype that is not the parameters'.
            UnsupportedError: for an ``impl`` that was insisted on and does not apply.
        """
        owner, cell, arrays = type(self).__name__, self.spec.layers[0], self.current()
        precision = Precision(check_parameters(owner, self.shapes, arrays), state_dtype=self.execution.state_dtype)
        begin = None if state is None else (state,)
        contexts = None if context is None else (context,)
        layers = [[partial(run_layer, cell, arrays, execution=self.execution, ran=self.note)]]
        _, (new,) = call_network(owner, self.spec, layers, precision, x, begin, context=contexts, layout="BCS")
        return new

    def step(self, x: Tensor, state: Any = None, *, context: Tensor | None = None) -> tuple[Tensor, Any]:
        """Take one frame and return (output, new state); the output is h', the state's own tensor.

        Arguments and errors as in the call, whose hooks run too.
        """
        new = self(x, state, context=context)
        return new[0] if isinstance(new, tuple) else new, new

    def zero_state(self, batch: int, size: Sequence[int]) -> Any:
        """Return the initial state that is used for None: h, or (h, c) for an LSTM.

        Args:
            batch: samples B.
            size: spatial size of the frames.

        Returns:
            Zeros of the parameters' dtype and on their device.
        """
        (entry,) = zero_state(self, batch, size)
        return entry

    def extra_repr(self) -> str:
        """The arguments that made this cell, defaults left out."""
        shown = arguments(self.spec.in_channels, self.spec, **self.execution.changed())
        return shown + (f"; {summary(self.spec.layers[0])}" if self.execution.algorithm == "winograd" else "")
