"""Specify one layer: a frozen, hashable, validated description that every backend reads.

A step of a cell is one update of its state. A step of a call (``steps`` of a forecaster) is one
predicted frame: how many there are is the forecast horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from convgru.spec.convolution import MODES, PADDING_MODES, Convolution, Padding
from convgru.spec.fields import flag, is_size, one_of, positive, sizes

GATES: Mapping[str, str] = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}
"""The gates of each cell, in the order in which their rows stand in every weight."""
TITLES: Mapping[str, str] = {"gru": "ConvGRU", "lstm": "ConvLSTM", "rnn": "ConvRNN"}
"""The name of each cell in messages."""
ACTIVATIONS = ("tanh", "relu", "leaky_relu", "sigmoid", "hard_sigmoid", "hard_sigmoid_0.2")
"""Of a cell: φ and σ of its equations."""
RESETS = ("before", "after")
"""Where a GRU's reset gate acts: before the recurrent convolution, or after it."""
PEEPHOLES = ("hadamard", "conv")
"""An LSTM's connections from c to the gates: weights for channels or pixels, or a convolution."""
NORMED: Mapping[str, tuple[str, ...]] = {"gru": ("rz", "n"), "lstm": ("ifgo",), "rnn": ("h",)}
"""The gates of each cell that are normalised together as one tensor."""
MOST_UPDATES = 100
"""Limit on the steps of a cell at each frame."""


@dataclass(frozen=True)
class Norm:
    """Group norm of the pre-activations (Wu and He 2018): groups of each normalised tensor, and ε.

    An LSTM normalises its four gates as one tensor, a GRU r with z and n by itself, an RNN its one;
    one group is layer norm (Ba et al. 2016).
    """

    groups: tuple[int, ...]
    eps: float = 1e-5


@dataclass(frozen=True)
class Operand:
    """One named parameter slice that an op of ``convgru.equations`` takes.

    Attributes:
        use: ``convolve`` with the geometry ``convolution``; ``scale`` elementwise; ``add`` along
            the channels; ``norm``, the same rows of norm_weight and norm_bias, after a group norm
            of ``groups`` and ``eps``.
        array: The short name of the array; of a norm, norm_weight.
        rows: The first row and the last plus one.
        convolution: Geometry, of ``convolve`` alone.
        groups: Of ``norm``.
        eps: Of ``norm``.
    """

    use: Literal["convolve", "scale", "add", "norm"]
    array: str
    rows: tuple[int, int]
    convolution: Convolution | None = None
    groups: int = 1
    eps: float = 0.0


@dataclass(frozen=True, repr=False)
class CellSpec:
    """One layer; sizes are full tuples, one number for each spatial dimension.

    ``convgru.network`` expands shorter forms. The recurrent convolution always pads to keep the
    size of the state (``preserve``). ``groups`` divide each gate by itself. ``reset`` is ``before``
    or ``after`` for a GRU and None for the other cells. ``peephole`` (LSTM) is None, ``hadamard``,
    one weight for each channel or, with ``state_size``, for each pixel, or ``conv``, with the
    recurrent convolution's geometry. ``updates`` lists the kernel sizes of several steps in a row
    on one state, each with separate weights (RAFT's SepConvGRU). Raises ValueError or TypeError,
    naming the field, for anything that is not a layer.
    """

    cell: str
    ndim: int
    in_channels: int
    hidden_channels: int
    kernel_size: tuple[int, ...]
    recurrent_kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    recurrent_stride: tuple[int, ...]
    dilation: tuple[int, ...]
    recurrent_dilation: tuple[int, ...]
    groups: int = 1
    padding: Padding = "same"
    padding_mode: str = "zeros"
    bias: bool = True
    reset: str | None = None
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    peephole: str | None = None
    state_size: tuple[int, ...] | None = None
    norm: Norm | None = None
    updates: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        one_of("cell", self.cell, tuple(GATES))
        one_of("ndim", self.ndim, (1, 2, 3))
        for name in ("in_channels", "hidden_channels", "groups"):
            positive(f"{self.title} {name}", getattr(self, name))
        for kind in ("kernel_size", "stride", "dilation"):
            for name in (kind, f"recurrent_{kind}"):
                sizes(f"{self.title} {name}", getattr(self, name), self.ndim)
        for name in ("in_channels", "hidden_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"{self.title} {name} expected a multiple of groups ({self.groups}), got {getattr(self, name)}"
                )
        self._check_padding()
        flag(f"{self.title} bias", self.bias)
        one_of(f"{self.title} activation", self.activation, ACTIVATIONS)
        one_of(f"{self.title} recurrent_activation", self.recurrent_activation, ACTIVATIONS)
        if self.cell == "gru":
            one_of("ConvGRU reset", self.reset, RESETS)
        elif self.reset is not None:
            raise ValueError(f"{self.title} has no reset gate: reset expected None, got {self.reset!r}")
        self._check_peephole()
        self._check_norm()
        self._check_updates()

    def _check_padding(self) -> None:
        one_of(f"{self.title} padding_mode", self.padding_mode, PADDING_MODES)
        if isinstance(self.padding, str):
            one_of(f"{self.title} padding", self.padding, MODES)
            return
        ok = isinstance(self.padding, tuple) and len(self.padding) == self.ndim
        if not ok or not all(isinstance(p, tuple) and len(p) == 2 and all(map(is_size, p)) for p in self.padding):
            names = ", ".join(map(repr, MODES))
            raise ValueError(
                f"{self.title} padding expected {names} or {self.ndim} (low, high) pairs of integers >= 0, got {self.padding!r}"
            )

    def _check_peephole(self) -> None:
        if self.peephole is not None:
            if self.cell != "lstm":
                raise ValueError(
                    f"{self.title} has no cell state to peep at: peephole expected None, got {self.peephole!r}"
                )
            one_of("ConvLSTM peephole", self.peephole, PEEPHOLES)
        if self.state_size is not None:
            if self.peephole != "hadamard":
                raise ValueError(
                    f"{self.title} state_size belongs to peephole 'hadamard', got {self.state_size!r} with {self.peephole!r}"
                )
            sizes("ConvLSTM state_size", self.state_size, self.ndim)

    def _check_norm(self) -> None:
        if self.norm is None:
            return
        parts = NORMED[self.cell]
        if (
            not isinstance(self.norm, Norm)
            or not isinstance(self.norm.groups, tuple)
            or len(self.norm.groups) != len(parts)
        ):
            raise ValueError(
                f"{self.title} norm expected Norm(groups) with a tuple of {len(parts)} ({', '.join(parts)}), got {self.norm!r}"
            )
        for part, groups in zip(parts, self.norm.groups, strict=True):
            positive(f"{self.title} norm groups of {part}", groups)
            if len(part) * self.hidden_channels % groups:
                raise ValueError(
                    f"{self.title} norm groups of {part} expected a divisor of {len(part) * self.hidden_channels} channels, got {groups}"
                )
        if isinstance(self.norm.eps, bool) or not isinstance(self.norm.eps, (int, float)) or not 0 < self.norm.eps < 1:
            raise ValueError(f"{self.title} norm eps expected a number in (0, 1), got {self.norm.eps!r}")

    def _check_updates(self) -> None:
        if not isinstance(self.updates, tuple) or len(self.updates) == 1:
            raise ValueError(
                f"{self.title} updates expected () or a tuple of at least two kernel sizes, got {self.updates!r}"
            )
        if len(self.updates) > MOST_UPDATES:
            raise ValueError(
                f"{self.title} updates expected at most {MOST_UPDATES} kernel sizes, got {len(self.updates)}"
            )
        for kernel in self.updates:
            sizes(f"{self.title} updates", kernel, self.ndim)
        if self.updates and self.padding != "same":
            raise ValueError(
                f"{self.title} updates expected padding 'same', for all work on one state, got {self.padding!r}"
            )

    @property
    def title(self) -> str:
        """The name that users know: ConvGRU, ConvLSTM or ConvRNN."""
        return TITLES[self.cell]

    @property
    def gates(self) -> int:
        """Number of gates: the weights have gates · hidden_channels rows."""
        return len(GATES[self.cell])

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the arrays of a state: ``("h",)``, or ``("h", "c")`` for an LSTM."""
        return ("h", "c") if self.cell == "lstm" else ("h",)

    @property
    def steps(self) -> tuple[CellSpec, ...]:
        """The cells that update the state in turn at each frame: itself, or one per update."""
        if not self.updates:
            return (self,)
        return tuple(replace(self, kernel_size=k, recurrent_kernel_size=k, updates=()) for k in self.updates)

    @property
    def operands(self) -> dict[str, Operand]:
        """The parameter slices of one step, by the names that ``convgru.equations`` gives them.

        For a cell with ``updates``, ask each of ``steps``.
        """
        hidden, rows = self.hidden_channels, self.gates * self.hidden_channels
        operands = {"ih": Operand("convolve", "weight_ih", (0, rows), self.input_convolution)}
        if self.reset == "before":
            operands["hh_rz"] = Operand("convolve", "weight_hh", (0, 2 * hidden), self.recurrent_convolution(2))
            operands["hh_n"] = Operand("convolve", "weight_hh", (2 * hidden, rows), self.recurrent_convolution(1))
        else:
            operands["hh"] = Operand("convolve", "weight_hh", (0, rows), self.recurrent_convolution(self.gates))
        if self.bias:
            operands["bias"] = Operand("add", "bias", (0, rows))
            if self.reset == "after":
                operands["bias_hn"] = Operand("add", "bias_hn", (0, hidden))
        for name in ("peephole_i", "peephole_f", "peephole_o") if self.peephole is not None else ():
            conv = self.recurrent_convolution(1) if self.peephole == "conv" else None
            operands[name] = Operand("scale" if conv is None else "convolve", name, (0, hidden), conv)
        start = 0
        for part, groups in zip(NORMED[self.cell], self.norm.groups, strict=True) if self.norm is not None else ():
            stop = start + len(part) * hidden
            eps = self.norm.eps if self.norm is not None else 0.0
            operands["norm_" + part] = Operand("norm", "norm_weight", (start, stop), groups=groups, eps=eps)
            start = stop
        return operands

    def __repr__(self) -> str:
        from convgru.spec.describe import cell_text  # which stands on this module

        return cell_text(self)

    @property
    def input_convolution(self) -> Convolution:
        """Geometry of W*x."""
        return Convolution(
            self.kernel_size, self.stride, self.dilation, self.groups, self.padding, self.padding_mode, self.gates
        )

    def recurrent_convolution(self, gates: int) -> Convolution:
        """Geometry of U*h for this many gates; for one gate also that of a peephole."""
        kernel, stride, dilation = self.recurrent_kernel_size, self.recurrent_stride, self.recurrent_dilation
        return Convolution(kernel, stride, dilation, self.groups, "preserve", self.padding_mode, gates)
