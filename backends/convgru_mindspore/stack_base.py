"""The base of the stacks: layers over a sequence of frames."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru.calls import flags
from convgru.spec import TITLES, NetworkSpec, describe
from convgru.spec.fields import one_of
from convgru.spec.shapes import layer_prefix, zero_state_shapes
from convgru.weights import Weights
from convgru_mindspore import arguments, functional, graph_checks
from convgru_mindspore.export import refuse_frozen
from convgru_mindspore.layers import Direction, Layer
from convgru_mindspore.options import IMPLS
from convgru_mindspore.parameters import SequenceCell, check_cell, check_flags, is_pair, starting_weights


class Stack(SequenceCell):
    """The base of the three stacks."""

    spec: NetworkSpec
    kind: str

    def _set_spec(
        self, spec: NetworkSpec, weights: Weights | None, dtype: Any, batch_first: bool, impl: str = "auto"
    ) -> None:
        check_cell(TITLES[self.kind], self.kind, spec)
        check_flags(spec.title, batch_first=batch_first)
        one_of(f"{spec.title} impl", impl, IMPLS)
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.batch_first, self.name_in_errors = spec, batch_first, type(self).__name__
        self.layout = "BTCS" if batch_first else "TBCS"
        self.impl, self.both, self.pairs = impl, len(spec.directions) == 2, is_pair(spec)
        layers = []
        for index, cell in enumerate(spec.layers):
            layers.append(Layer({d: Direction(cell, weights, layer_prefix(index, d)) for d in spec.directions}))
        self.layers = nn.CellList(layers)
        self.set_train(False)  # said aloud: a graph compiled before the first set_train would never see a later one

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters and of the state."""
        return self.layers[0].fwd.first().dtype

    def zero_state(self, batch: int, size: tuple[int, ...]) -> Any:
        """The initial state: zeros for ``batch`` sequences of frames of ``size`` pixels."""
        return arguments.zeros(zero_state_shapes(self.name_in_errors, self.spec, batch, size), self.dtype)

    @arguments.one_at_a_time
    def __call__(
        self,
        x: Any,
        state: Any = None,
        seq_length: Any = None,
        *,
        context: Any = None,
        masks: Any = None,
        return_all_layers: bool = False,
        last_only: bool = False,
    ) -> Any:
        """Check the call, then run ``construct``."""
        call = arguments.caller(self.name_in_errors, self.spec, self.layout, self.compute_dtype)
        shapes = arguments.check_network(call, self.dtype, x, state, seq_length, context, masks)
        if state is None and self.get_inputs() is None:  # zeros of free shapes are made in the graph
            state = arguments.zeros(shapes, self.dtype)
        if seq_length is not None and not isinstance(seq_length, ms.Tensor):
            seq_length = ms.Tensor(seq_length, ms.int32)
        extras = (seq_length, arguments.live(context), arguments.live(masks or None))
        options = flags(self.name_in_errors, return_all_layers=return_all_layers, last_only=last_only)
        return nn.Cell.__call__(self, x, arguments.live(state), *extras, *options, True)

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Any,
        state: Any = None,
        seq_length: Any = None,
        context: Any = None,
        masks: Any = None,
        return_all_layers: bool = False,
        last_only: bool = False,
        checked: bool = False,
    ) -> Any:
        """Output and final state for the sequence x."""
        dtype = self.layers[0].fwd.first().dtype
        if not checked:
            if state is not None or context is not None or masks is not None:
                refuse_frozen(self.name_in_errors, self.pairs)
            graph_checks.checked_flags(self.name_in_errors, return_all_layers, last_only, self.training)
            call = (self.name_in_errors, self.spec, self.layout, self.compute_dtype, dtype)
            state = graph_checks.ready_network(call, x, state, seq_length, context, masks)
        if state is None:
            state = graph_checks.initial(self.spec, None, dtype)
        extras = arguments.cast_extras((seq_length, context, masks), dtype, self.spec.ndim, self.batch_first)
        if self.batch_first:
            x = mops.swapaxes(x, 0, 1)
        x = x if x.dtype == dtype else x.astype(dtype)
        state = arguments.cast_state(state, dtype)
        y, state = functional.compute(
            self.spec, self.layers, None, x, state, extras, return_all_layers, last_only, self.training, self.impl
        )
        if self.batch_first and not last_only:
            y = _batch_first(y)
        return y, state

    def step(self, x: Any, state: Any = None, context: Any = None, masks: Any = None) -> Any:
        """Run the network on one frame. Not for a bidirectional network.

        Args:
            x (Tensor): The frame (B, C, *S).
            state, context, masks: As in the call; a context (B, G·H, *S) for each entry of the
                state. In training each step draws masks of its own, unless those of one frame are
                given. Default: ``None`` .

        Returns:
            The output (B, H, *S) and the new state.

        Raises:
            ValueError, TypeError: As the call; TypeError if the network is bidirectional.

        Examples:
            >>> y, state = net.step(frame, state)
        """
        dtype = self.layers[0].fwd.first().dtype
        call = (self.name_in_errors, self.spec, "BCS", self.compute_dtype, dtype)
        state = arguments.cast_state(graph_checks.ready_network(call, x, state, None, context, masks), dtype)
        extras = arguments.cast_extras((None, context, masks), dtype, self.spec.ndim, False)
        frames = mops.expand_dims(x if x.dtype == dtype else x.astype(dtype), 0)
        layers, params = self.layers, None
        if arguments.compiled_cells():  # called from Python each layer would compile a graph of its own
            layers, params = None, self.prepared()
        return functional.compute(
            self.spec, layers, params, frames, state, extras, False, True, self.training, self.impl
        )

    def prepared(self) -> Any:
        """The parameters of all layers as the ops read them."""
        params = []
        for layer in self.layers:
            for step in layer.fwd.prepared():
                params.append(step)
            if self.both:
                for step in layer.bwd.prepared():
                    params.append(step)
        return params

    def extend_repr(self) -> Any:
        """The arguments that make the network."""
        options: dict[str, Any] = {"batch_first": True} if self.batch_first else {}
        if self.impl != "auto":
            options["impl"] = self.impl
        text = describe.arguments(self.spec.in_channels, self.spec, **options, dtype=self.dtype)
        return text.replace(", bias=", ", has_bias=")


def _batch_first(y: Any) -> Any:
    """One output, or one for each layer, batch first."""
    if isinstance(y, (tuple, list)):
        return tuple([mops.swapaxes(each, 0, 1) for each in y])
    return mops.swapaxes(y, 0, 1)
