"""ConvGRU, ConvLSTM and ConvRNN: stacks of layers over sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convgru.spec import Ints, NetworkSpec, network
from convgru.spec.describe import arguments
from convgru.spec.fields import flag
from convgru.spec.shapes import layer_prefix
from convgru_torch import hub
from convgru_torch.functional import State, call_network
from convgru_torch.layers import Layer
from convgru_torch.options import ConvGRUOptions, ConvLSTMOptions, ConvRNNOptions, explicit, refuse_unknown
from convgru_torch.packed_sequence import pack, unpack
from convgru_torch.parameters import SpecModule, precision_of

if TYPE_CHECKING:
    from typing import Unpack  # new in 3.11; the room itself also runs on 3.10


class Stack(SpecModule):
    """Layers over a sequence; ``layers[l]["fwd"]`` is layer l, ``layers[l]["bwd"]`` its second direction, each a ``Layer``."""

    kind: ClassVar[str]

    def __init__(
        self, in_channels: int, hidden_channels: Any, kernel_size: Any, num_layers: Any, **options: Any
    ) -> None:
        own = {name: options.pop(name, default) for name, default in OWN.items()}
        self._build(network(self.kind, in_channels, hidden_channels, kernel_size, num_layers, **options), **own)

    def _build(self, spec: NetworkSpec, batch_first: bool, device: Any, dtype: torch.dtype | None) -> None:
        SpecModule.__init__(self, spec)
        owner = type(self).__name__
        if spec.cell != self.kind:
            raise ValueError(f"{owner} expected a spec of {self.kind} layers, got {spec.cell!r}")
        flag(f"{owner} batch_first", batch_first)
        self.batch_first = batch_first
        options: dict[str, Any] = {"zoneout": spec.zoneout, "owner": owner, "device": device, "dtype": dtype}
        self.layers = nn.ModuleList()
        for index, cell in enumerate(spec.layers):
            one = NetworkSpec((cell,))
            directions = {d: Layer(one, reverse=d == "bwd", index=index, **options) for d in spec.directions}
            self.layers.append(nn.ModuleDict(directions))
        for layer in self._layers():
            layer.inner = True

    @classmethod
    def from_spec(
        cls, spec: NetworkSpec, *, batch_first: bool = False, device: Any = None, dtype: torch.dtype | None = None
    ) -> Any:
        """The stack that a spec describes. Raises ValueError for a spec of another cell."""
        self = hub.new(cls, spec, batch_first=batch_first)
        self._build(spec, batch_first, device, dtype)
        return self

    def reset_parameters(self) -> None:
        """Draw new initial values, layer by layer (``Layer.reset_parameters``)."""
        for layer in self._layers():
            layer.reset_parameters()

    def _layers(self) -> list[Layer]:
        """Each layer and direction, in the order of a state."""
        return [layer for directions in self._directions() for layer in directions]

    def _directions(self) -> list[list[Layer]]:
        """The directions of each layer, which a user may have wrapped."""
        return [[layer[d] for d in self.spec.directions] for layer in self.layers]  # type: ignore[index]

    def arrays(self, prefix: str = "") -> dict[str, Tensor]:
        """Map canonical names to the tensors that a call would use, behind parametrizations and weight hooks too."""
        names = [layer_prefix(index, d) for index in range(len(self.layers)) for d in self.spec.directions]
        return {
            name: array
            for start, layer in zip(names, self._layers(), strict=True)
            for name, array in layer.arrays(prefix + start).items()
        }

    def _run(self, x: Tensor, state: State | None, layout: str, **options: Any) -> tuple[Any, State]:
        """Call the layers."""
        owner, precision = type(self).__name__, precision_of(self)
        return call_network(
            owner, self.spec, self._directions(), precision, x, state, layout=layout, training=self.training, **options
        )

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        context: Sequence[Tensor] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        return_all_layers: bool = False,
        last_only: bool = False,
    ) -> tuple[Any, State]:
        """Run over a sequence.

        Args:
            x: (T, B, C, *S), or (B, T, C, *S) with ``batch_first``; or a PackedSequence of (T, B, C, *S).
            state: one entry for each layer and direction, layer by layer, forward before backward: h (B, H, *S), or (h, c) for an
                LSTM; None means zeros.
            lengths: valid frames of each sample, 0 to T, a list or a tensor: padding is not read, whatever it holds, its output is zero,
                and the backward direction starts at the last valid frame. Values on an accelerator are not checked.
            context: for each entry of the state a tensor (B, G·H, *S), added to the pre-activations of all G gates; or one for each
                frame, with time where x has it.
            masks: of dropout and zoneout, by the names and shapes of ``convgru.spec.shapes.mask_shapes``, instead of random ones.
            return_all_layers: return a tuple with the output of each layer.
            last_only: return each sample's last valid output alone, (B, H, *S), zeros where there is none; those before are not kept.

        Returns:
            The last layer's output, (T, B, H, *S) or (B, T, H, *S), with twice the channels where two directions are concatenated, or a
            PackedSequence; and the final state, of the form of ``state``.

        Raises:
            ValueError: for a shape that does not fit, or lengths out of range.
            TypeError: for a dtype that is not the parameters', or lengths of a PackedSequence.
        """
        packed = x if isinstance(x, PackedSequence) else None
        layout = "BTCS" if self.batch_first and packed is None else "TBCS"
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise TypeError(f"{type(self).__name__} expected no lengths with a PackedSequence, which has its own")
            x, lengths = unpack(x)
        y, final = self._run(
            x,
            state,
            layout,
            lengths=lengths,
            context=context,
            masks=masks,
            return_all_layers=return_all_layers,
            last_only=last_only,
        )
        if packed is None or last_only:
            return y, final
        assert isinstance(lengths, Tensor)
        if return_all_layers:
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
        """Take one frame (B, C, *S), as it arrives: its output (B, H, *S), and the state for the next call.

        Frame by frame it gives what the call gives for the sequence. Raises TypeError for a bidirectional network.
        """
        return self._run(x, state, "BCS", context=context, masks=masks)

    def extra_repr(self) -> str:
        """The arguments that made this stack, defaults left out."""
        options = {"batch_first": True} if self.batch_first else {}
        return arguments(self.spec.in_channels, self.spec, **options)


OWN = {"batch_first": False, "device": None, "dtype": None}
"""What a stack takes that no spec holds."""


@explicit(ConvGRUOptions)
class ConvGRU(Stack):
    """A stack of convolutional GRUs (equations: ``convgru.equations.gru_before`` and ``gru_after``).

    A tuple is per dimension, a list per layer, a number for all. Dropout and zoneout act in training mode.

    Args:
        in_channels: channels C of the input.
        hidden_channels: channels H of the hidden state, or a list with one number for each layer.
        kernel_size: of the convolution over the input; even ones are as good as odd ones.
        num_layers: None means the length of the lists given, else 1.
        ndim: spatial dimensions, 1, 2 or 3.
        recurrent_kernel_size, stride, recurrent_stride, dilation, recurrent_dilation, groups, padding, padding_mode, bias, reset,
            activation, recurrent_activation, norm, updates: of each layer, as for ConvGRUCell.
        bidirectional: True or ``layer``: each layer runs both ways and the next sees both (torch.nn.GRU); ``stack``: a whole stack
            forward, a whole stack backward, merged at the top.
        merge: how two directions become one output: ``concat``, ``sum``, ``mean`` or ``mul``.
        dropout: of the output of each layer but the last, a probability.
        recurrent_dropout: of h where it enters U, one mask for all steps (Gal and Ghahramani 2016, arXiv:1512.05287).
        zoneout: how likely a number of the state keeps its old value (Krueger et al. 2017, arXiv:1606.01305); in evaluation the mean.
        output_size: pool each frame to this size first (adaptive average), so that the state has it whatever the frame's.
        batch_first: input and output are (B, T, C, *S) instead of (T, B, C, *S); states are (B, H, *S) either way.
        device, dtype: of the parameters, as everywhere in torch.

    Parameters: ``layers.{l}.fwd.weight_ih`` (3H, C/groups, *k), ``.weight_hh`` (3H, H/groups, *k), ``.bias`` (3H), and for ``after``
    ``.bias_hn`` (H); gates in the order r, z, n; ``layers.{l}.bwd.`` for the second direction; the rest as in ConvGRUCell.

    Raises:
        ValueError, TypeError: for arguments that describe no network, naming the argument.

    Example:
        >>> net = ConvGRU(3, [16, 8], kernel_size=[5, 3])
        >>> y, state = net(torch.zeros(10, 2, 3, 32, 32))
        >>> both = ConvGRU(3, 16, bidirectional=True)
        >>> y, state = both(torch.zeros(10, 2, 3, 32, 32), lengths=[10, 7])
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvGRUOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvGRUOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


@explicit(ConvLSTMOptions)
class ConvLSTM(Stack):
    """A stack of convolutional LSTMs (Shi et al. 2015, arXiv:1506.04214; ``convgru.equations.lstm``).

    Arguments as for ConvGRU, without ``reset``, and ``peephole`` and ``state_size`` as for ConvLSTMCell. A state holds a pair (h, c) for
    each layer and direction. Parameters: ``layers.{l}.fwd.`` and those of ConvLSTMCell; gates in the order i, f, g, o.

    Example:
        >>> net = ConvLSTM(3, 16, num_layers=2)
        >>> y, ((h0, c0), (h1, c1)) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvLSTMOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvLSTMOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


@explicit(ConvRNNOptions)
class ConvRNN(Stack):
    """A stack of convolutional Elman networks, h' = φ(W*x + U*h + b) (Elman 1990; ``convgru.equations.rnn``).

    Arguments as for ConvGRU, without ``reset``. Parameters: ``layers.{l}.fwd.`` and those of ConvRNNCell.

    Example:
        >>> net = ConvRNN(3, 16, activation="relu")
        >>> y, (h,) = net(torch.zeros(10, 2, 3, 32, 32))
    """

    kind = "rnn"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        ndim: int = 2,
        **options: Unpack[ConvRNNOptions],
    ) -> None:
        refuse_unknown(type(self).__name__, {**options}, ConvRNNOptions)
        super().__init__(in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)


STACKS: dict[str, type[Stack]] = {"gru": ConvGRU, "lstm": ConvLSTM, "rnn": ConvRNN}
