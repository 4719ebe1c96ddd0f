"""Stack, the base of ConvGRU, ConvLSTM and ConvRNN: layers over sequences, and streaming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convgru.spec import NetworkSpec, network
from convgru.spec.describe import arguments, title
from convgru.spec.fields import flag
from convgru.spec.shapes import layer_prefix
from convgru_torch import hub
from convgru_torch.call_overloads import Lengths, StackCall
from convgru_torch.execution import Execution, ExecutionOptions
from convgru_torch.functional import State, call_network
from convgru_torch.layers import Layer
from convgru_torch.options import DEFAULTS
from convgru_torch.packed_sequence import pack, unpack
from convgru_torch.parameters import SpecModule, precision_of, zero_state

if TYPE_CHECKING:
    from typing import Self, Unpack  # new in 3.11; the room itself also runs on 3.10


class Stack(SpecModule):
    """Layers over a sequence: ``layers[l]["fwd"]`` and ``layers[l]["bwd"]``, each a ``Layer``."""

    kind: ClassVar[str]

    def __init__(
        self, in_channels: int, hidden_channels: Any, kernel_size: Any, num_layers: Any, **options: Any
    ) -> None:
        module_options = {name: options.pop(name, default) for name, default in DEFAULTS.items()}
        self._build(
            network(self.kind, in_channels, hidden_channels, kernel_size, num_layers, **options), **module_options
        )

    def _build(
        self, spec: NetworkSpec, batch_first: bool, device: Any, dtype: torch.dtype | None, **execution: Any
    ) -> None:
        SpecModule.__init__(self, spec, Execution(**execution))
        owner = type(self).__name__
        if spec.cell != self.kind:
            raise ValueError(f"{owner} expected a spec of {self.kind} layers, got {spec.cell!r}")
        flag(f"{owner} batch_first", batch_first)
        self.batch_first = batch_first
        options: dict[str, Any] = {"zoneout": spec.zoneout, "owner": owner, "execution": self.execution}
        options |= {"device": device, "dtype": dtype}
        self.layers = nn.ModuleList()
        for index, cell in enumerate(spec.layers):
            one = NetworkSpec((cell,))
            directions = {d: Layer(one, reverse=d == "bwd", index=index, **options) for d in spec.directions}
            self.layers.append(nn.ModuleDict(directions))
        for layer in self._layers():
            layer.inner = True

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec,
        *,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **execution: Unpack[ExecutionOptions],
    ) -> Self:
        """Make the stack that a spec describes. Raises ValueError for a spec of another cell."""
        self: Self = hub.new(cls, spec, batch_first=batch_first, **execution)
        self._build(spec, batch_first, device, dtype, **execution)
        return self

    def reset_parameters(self) -> None:
        """Draw new initial values, layer by layer (``Layer.reset_parameters``)."""
        for layer in self._layers():
            layer.reset_parameters()

    def _layers(self) -> list[Layer]:
        """Each layer and direction, in the order of a state."""
        return [layer for directions in self._directions() for layer in directions]

    def _directions(self) -> list[list[Layer]]:
        """The directions of each layer, which a user may have wrapped.

        Raises ValueError for one that a user has replaced by what the spec does not say.
        """
        spec, directions = self.spec, self.spec.directions
        layers = [[layer[d] for d in directions] for layer in self.layers]  # type: ignore[index]
        for index, row in enumerate(layers):
            for direction, layer in zip(directions, row, strict=True):
                made = type(layer) is Layer and layer.spec.layers[0] is spec.layers[index]
                if torch.compiler.is_compiling() and made:
                    continue  # numbers that are compared become arguments of the compiled program
                if not made or layer.reverse != (direction == "bwd") or layer.zoneout != spec.zoneout:
                    self._check_layer(index, direction, layer)
        return layers

    def _check_layer(self, index: int, direction: str, layer: Any) -> None:
        """Raise ValueError for a layer that computes something else than the spec says."""
        spec = getattr(layer, "spec", None)
        if spec is None:  # a wrapper that shows nothing of what is inside
            return
        cell, name = self.spec.layers[index], f"{type(self).__name__} {layer_prefix(index, direction)[:-1]}"
        if spec.layers[0] is not cell and spec.layers[0] != cell:
            raise ValueError(
                f"{name} expected the layer of the network's spec, {title(NetworkSpec((cell,)))}, got {title(spec)}: "
                "make the network anew from the spec that it is to have"
            )
        for option, expected in (("reverse", direction == "bwd"), ("zoneout", self.spec.zoneout)):
            if getattr(layer, option, expected) != expected:
                raise ValueError(
                    f"{name} expected {option}={expected!r}, got a layer of {option}={getattr(layer, option)!r}"
                )

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """Map canonical names to the tensors that a call would use, parametrized or hooked."""
        names = [layer_prefix(index, d) for index in range(len(self.layers)) for d in self.spec.directions]
        return {
            name: array
            for start, layer in zip(names, self._layers(), strict=True)
            for name, array in layer.arrays(prefix + start).items()
        }

    def _run(self, x: Tensor, state: State | None, layout: str, **options: Any) -> tuple[Any, State]:
        """Call the layers."""
        owner, precision = type(self).__name__, precision_of(self)
        options |= {"layout": layout, "training": self.training, "checkpoint_frames": self.execution.checkpoint_frames}
        return call_network(owner, self.spec, self._directions(), precision, x, state, **options)

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State | None = None,
        *,
        lengths: Lengths | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: bool = False,
        last_only: bool = False,
    ) -> tuple[Any, State]:
        """Run over a sequence.

        Args:
            x: (T, B, C, *S), or (B, T, C, *S) with ``batch_first``; a PackedSequence of (T, B, C,
                *S); or unbatched (T, C, *S), as torch.nn.GRU has it: then state, context and
                results have no batch axis either.
            state: one entry for each layer and direction, layer by layer, forward before backward:
                h (B, H, *S), or (h, c) for an LSTM; None means zeros (``zero_state``).
            lengths: valid frames of each sample, 0 to T, a tensor or a list: padding is not read,
                whatever it holds, its output is zero, and the backward direction starts at the last
                valid frame. The values of a tensor on an accelerator are not checked. Under
                torch.compile give a tensor: each other list compiles the network anew.
            context: for each entry of the state a tensor (B, G·H, *S), added to the pre-activations
                of all G gates; or one for each frame, with time where x has it.
            masks: of dropout and zoneout, by the names and shapes of
                ``convgru.spec.shapes.mask_shapes`` (of an unbatched call with a batch of 1),
                instead of random ones.
            return_all_layers: return a tuple with the output of each layer.
            last_only: return each sample's last valid output alone, (B, H, *S), zeros where there
                is none; those before are not kept.

        Returns:
            The last layer's output, (T, B, H, *S) or (B, T, H, *S), with twice the channels where
            two directions are concatenated, or a PackedSequence; and the final state, of the form
            of ``state``.

        Raises:
            ValueError: for a shape that does not fit, or lengths out of range.
            TypeError: for a dtype that is not the parameters', or lengths of a PackedSequence.
            UnsupportedError: for an ``impl`` that was insisted on and does not apply.
        """
        given: dict[str, Any] = {"context": context, "masks": masks}
        given |= {"return_all_layers": return_all_layers, "last_only": last_only}
        if isinstance(x, PackedSequence):
            return self._run_packed(x, state, lengths, **given)
        return self._run(x, state, "BTCS" if self.batch_first else "TBCS", lengths=lengths, **given)

    def _run_packed(self, packed: PackedSequence, state: Any, lengths: Any, **given: Any) -> tuple[Any, State]:
        """Run over the padded sequence, and pack the outputs again."""
        if lengths is not None:
            raise TypeError(f"{type(self).__name__} expected no lengths with a PackedSequence, which has its own")
        x, lengths = unpack(packed)
        y, final = self._run(x, state, "TBCS", lengths=lengths, **given)
        if given["last_only"]:
            return y, final
        if given["return_all_layers"]:
            return tuple(pack(each, lengths, packed) for each in y), final
        return pack(y, lengths, packed), final

    def step(
        self,
        x: Tensor,
        state: State | None = None,
        *,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, State]:
        """Take one frame; frame by frame, the results are those of one call on the sequence.

        It calls the layers, whose hooks run, but it is not the module's own call: what acts on
        that, as hooks of the stack and DistributedDataParallel's synchronisation of gradients, does
        not see it. Train through the call; FSDP2 has
        ``torch.distributed.fsdp.register_fsdp_forward_method(net, "step")``.

        Args:
            x: (B, C, *S), or unbatched (C, *S).
            state, context, masks: as in the call.

        Returns:
            The output of the frame, (B, H, *S), and the state for the next call.

        Raises:
            ValueError: as the call does.
            TypeError: as the call does, and for a bidirectional network.
        """
        return self._run(x, state, "BCS", context=context, masks=masks)

    if TYPE_CHECKING:
        __call__: StackCall  # pyright: ignore[reportIncompatibleMethodOverride]

    def zero_state(self, batch: int, size: Sequence[int]) -> State:
        """Return the initial state that is used for None.

        Args:
            batch: samples B.
            size: spatial size of the input.

        Returns:
            Zeros of the parameters' dtype and on their device, one entry for each layer and
            direction.
        """
        return zero_state(self, batch, size)

    def extra_repr(self) -> str:
        """The arguments that made this stack, defaults left out."""
        options = {"batch_first": True} if self.batch_first else {}
        return arguments(self.spec.in_channels, self.spec, **options, **self.execution.changed())
