"""Base classes of the drop-in for kamo-naoyuki/pytorch_convolutional_rnn."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from convgru.importers import LAYOUTS
from convgru.importers.hints import options_of
from convgru.importers.match import Match, foreign_shapes
from convgru.spec import Ints, network
from convgru_torch.compat.base import DropIn, arguments_of
from convgru_torch.packed_sequence import pack, unpack

Sizes = Ints | list[int]
"""One number for all spatial dimensions, or one for each."""


class Recurrent(DropIn):
    """Arguments and parameters of the original's networks and cells.

    Equations: ``convgru.equations``, reset after.

    Parameters: ``weight_ih`` (G·H, C/groups, *k), ``weight_hh`` (G·H, H/groups, *k), ``bias_ih``
    and ``bias_hh`` (G·H), the gates in the order i, f, g, o or r, z, n, and ``weight_pi``,
    ``weight_pf``, ``weight_po`` (H, H/groups, *k) of peepholes; uniform in ±1/√H at first. All
    convolutions share kernel, stride and dilation, and keep the size of the image at any stride.
    The ``groups`` cut across the gates: the first rows, whatever their gate, read the first
    channels.
    """

    kind: ClassVar[str]
    ending: ClassVar[str] = ""
    """Suffix of the layout's name."""
    convndim: ClassVar[int]

    def __init__(
        self,
        sizes: tuple[int, int, Sizes, int],
        bias: bool,
        groups: int,
        nonlinearity: str,
        bidirectional: bool = False,
        **choices: Any,
    ) -> None:
        """Build from ``sizes``: input and output channels, kernel size, number of layers.

        ``choices`` are the layout's.
        """
        super().__init__()
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"{type(self).__name__} nonlinearity expected 'tanh' or 'relu', got {nonlinearity!r}")
        if self.kind == "rnn":
            choices["nonlinearity"] = nonlinearity
        layout = LAYOUTS[f"convolutional_rnn.{self.kind}{self.ending}"]
        inputs, outputs, kernel, layers = sizes
        if not isinstance(groups, int) or groups < 1 or inputs % groups or outputs % groups:
            raise ValueError(
                f"{type(self).__name__} groups expected a divisor of {inputs} and of {outputs} channels, got {groups!r}"
            )
        # Groups of a single gate are the spec's; those that cut across gates become dense weights.
        gate_groups = groups if self.kind == "rnn" else 1
        kernel = tuple(kernel) if isinstance(kernel, list) else kernel
        options = {
            "ndim": self.convndim,
            "groups": gate_groups,
            "bias": bias,
            **options_of(layout, choices, bidirectional),
        }
        spec = network(layout.cell, inputs, outputs, kernel, layers, **options)
        self._read_as(layout.name, spec, groups=groups)
        first = spec.layers[0]
        modes = {"gru": "GRU", "lstm": "LSTM", "peephole": "PeepholeLSTM", "rnn": f"RNN_{first.activation.upper()}"}
        self.mode = modes[self.kind]
        self.in_channels, self.out_channels, self.bias, self.groups = inputs, outputs, bias, groups
        self.kernel_size, self.stride, self.dilation = first.kernel_size, first.stride, first.dilation
        shapes = foreign_shapes(Match.of(layout, spec, groups))
        self._names = self._grouped(list(shapes))
        for name in chain.from_iterable(self._names):
            self.register_parameter(name, nn.Parameter(torch.empty(shapes[name])))
        self.reset_parameters()

    def _grouped(self, names: list[str]) -> list[list[str]]:
        """Group parameters by layer and direction, in the order in which the original creates them.

        It initialises them in this order too.
        """
        return [names]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new initial values, uniform in ±1/√H."""
        bound = 1 / math.sqrt(self.out_channels)
        for tensor in self.parameters():
            tensor.uniform_(-bound, bound)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any, **named: Any) -> None:
        # Older versions gave each peephole a bias: what it adds to a gate, bias_ih adds as well.
        for name, _ in list(self.named_parameters(recurse=False)):
            end = name.removeprefix("bias_ih")
            keys = [f"{prefix}bias_p{gate}{end}" for gate in "ifo"]
            whole = prefix + name
            if self.kind == "peephole" and end != name and whole in state_dict and all(k in state_dict for k in keys):
                i, f, o = (state_dict.pop(key) for key in keys)
                state_dict[whole] = state_dict[whole] + torch.cat((i, f, torch.zeros_like(f), o))
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)

    def extra_repr(self) -> str:
        """Return the constructor's arguments, defaults left out."""
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        defaults = {"dilation": (1,) * self.convndim, "groups": 1, "num_layers": 1, "bias": True}
        defaults |= {"batch_first": False, "dropout": 0.0, "bidirectional": False}
        values = {name: getattr(self, name, usual) for name, usual in defaults.items()}
        return sizes + "".join(f", {name}={value}" for name, value in values.items() if value != defaults[name])


class Stack(Recurrent):
    """Layers over a sequence: call, states, order of parameters; see ``Network`` and ``RNN``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        nonlinearity: str = "tanh",
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        stride: Sizes = 1,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> None:
        choices: dict[str, Any] = {"stride": stride, "dilation": dilation, "dropout": dropout}
        sizes = (in_channels, out_channels, kernel_size, num_layers)
        super().__init__(sizes, bias, groups, nonlinearity, bidirectional, **choices)
        self.num_layers, self.dropout = len(self.spec.layers), self.spec.dropout
        self.batch_first, self.bidirectional = batch_first, bidirectional

    def _grouped(self, names: list[str]) -> list[list[str]]:
        """Sort weights before biases in each layer and direction; a cell has another order."""
        ends = dict.fromkeys(name.partition("_l")[2] for name in names)
        parts = [[name for name in names if name.partition("_l")[2] == end] for end in ends]
        return [sorted(part, key=lambda name: name.startswith("bias")) for part in parts]

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """Run over a sequence (T, B, C, *S), or (B, T, C, *S) with ``batch_first``.

        Or over a PackedSequence of (T, B, C, *S).

        ``hx`` is (L·D, B, H, *S), layer by layer, forward before backward, a pair (h, c) of them
        for an LSTM; None means zeros. Returns the output, with H channels or twice as many, packed
        if the input is; and the final state, of the form of ``hx``. With a PackedSequence the state
        is each sample's own last, in the order in which the samples were given.

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the
        parameters'.
        """
        if not isinstance(input, PackedSequence):
            y, final = self._run(input, self._entries(hx), layout="BTCS" if self.batch_first else "TBCS")
            return y, self._joined(final)
        x, lengths = unpack(input)
        y, final = self._run(x, self._entries(hx), lengths=lengths)
        return pack(y, lengths, input), self._joined(final)

    def _entries(self, hx: Any) -> tuple[Any, ...] | None:
        """Split hx into one entry for each layer and direction."""
        if hx is None:
            return None
        pair = self.spec.cell == "lstm"
        parts = tuple(hx) if pair and isinstance(hx, (tuple, list)) else (hx,)
        if len(parts) != 1 + pair or not all(isinstance(part, Tensor) for part in parts):
            wanted = "a pair (h, c) of tensors" if pair else "a tensor"
            kinds = ", ".join(type(part).__name__ for part in parts)
            raise TypeError(f"{type(self).__name__} expected hx to be {wanted} (L·D, B, H, *S), got {kinds}")
        entries = self.num_layers * len(self.spec.directions)
        if any(part.ndim < 1 or part.shape[0] != entries for part in parts):
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(
                f"{type(self).__name__} expected hx with {entries} states (one for each layer and direction) on axis 0, got {shapes}"
            )
        return tuple(zip(*parts, strict=True)) if pair else tuple(hx)

    def _joined(self, final: Any) -> Any:
        """Stack the final state as the original does: (L·D, B, H, *S), or a pair of them."""
        if self.spec.cell != "lstm":
            return torch.stack(final)
        return tuple(torch.stack(parts) for parts in zip(*final, strict=True))


class Network(Stack):
    """Layers over a sequence.

    Args:
        in_channels: number of channels C of the input.
        out_channels: number of channels H of the state of every layer.
        kernel_size: a number, or one for each spatial dimension; even sizes are supported.
        num_layers: number of layers.
        bias: if False, the convolutions have no bias.
        batch_first: if True, input and output are (B, T, C, *S) instead of (T, B, C, *S); no effect
            on a PackedSequence or the states.
        dropout: probability of dropout on the output of each layer but the last, in training.
        bidirectional: if True, each layer runs both ways, and the next reads both.
        stride: of all convolutions, a number, or one for each spatial dimension.
        dilation: of all convolutions, a number, or one for each spatial dimension.
        groups: of all convolutions; they cut across the gates.

    Parameters: those of ``Recurrent`` with the ending ``_l0``, ``_l0_reverse``, ``_l1`` and so on.
    The original has no quirks, and so this no ``corrected``. What is no longer broken:
    docs/compat/convolutional_rnn.md.

    Raises:
        ValueError, TypeError: if the arguments describe no network.

    Source: github.com/kamo-naoyuki/pytorch_convolutional_rnn; Shi et al. 2015, arXiv:1506.04214;
    Cho et al. 2014, arXiv:1406.1078v1.

    Example:
        >>> net = Conv2dGRU(2, 5, kernel_size=3, num_layers=2, bidirectional=True)
        >>> y, h = net(torch.zeros(3, 2, 2, 10, 14))
    """

    @arguments_of(Stack.__init__, without="nonlinearity")
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sizes, *rest: Any, **options: Any) -> None:
        super().__init__(in_channels, out_channels, kernel_size, "tanh", *rest, **options)


class RNN(Stack):
    """Layers of h' = φ(W*x + U*h + b); φ is ``nonlinearity``, ``tanh`` or ``relu``.

    Otherwise as ``Network``.
    """

    kind = "rnn"
