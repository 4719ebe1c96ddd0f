"""What a network is: frozen, hashable, validated descriptions that every backend reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from convgru.padding import MODES, Convolution, Padding

GATES: Mapping[str, str] = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}
"""The gates of each cell, in the order in which their rows stand in every weight."""
TITLES: Mapping[str, str] = {"gru": "ConvGRU", "lstm": "ConvLSTM", "rnn": "ConvRNN"}
ACTIVATIONS = ("tanh", "relu")
Ints = int | tuple[int, ...]  # one number for all spatial dimensions, or one for each


@dataclass(frozen=True)
class CellSpec:
    """One layer. Sizes are full tuples, one number for each spatial dimension; ``network`` expands shorter forms.

    The recurrent convolution always pads to keep the size of the state. ``reset`` is ``before`` or ``after`` for a
    GRU and None for the other cells. Raises ValueError or TypeError, naming the field, for anything that is not a network.
    """

    cell: str
    ndim: int
    in_channels: int
    hidden_channels: int
    kernel_size: tuple[int, ...]
    recurrent_kernel_size: tuple[int, ...]
    dilation: tuple[int, ...]
    recurrent_dilation: tuple[int, ...]
    padding: Padding = "same"
    bias: bool = True
    reset: str | None = None
    activation: str = "tanh"

    def __post_init__(self) -> None:
        _one_of("cell", self.cell, tuple(GATES))
        _one_of("ndim", self.ndim, (1, 2, 3))
        for name in ("in_channels", "hidden_channels"):
            _positive(f"{self.title} {name}", getattr(self, name))
        for name in ("kernel_size", "recurrent_kernel_size", "dilation", "recurrent_dilation"):
            self._check_sizes(name, getattr(self, name))
        self._check_padding()
        if not isinstance(self.bias, bool):
            raise TypeError(f"{self.title} bias expected True or False, got {self.bias!r}")
        _one_of(f"{self.title} activation", self.activation, ACTIVATIONS)
        if self.cell == "gru":
            _one_of("ConvGRU reset", self.reset, ("before", "after"))
        elif self.reset is not None:
            raise ValueError(f"{self.title} has no reset gate: reset expected None, got {self.reset!r}")

    def _check_sizes(self, name: str, value: object) -> None:
        if not isinstance(value, tuple) or len(value) != self.ndim:
            raise ValueError(f"{self.title} {name} expected a tuple of {self.ndim} (ndim), got {value!r}")
        for number in value:
            _positive(f"{self.title} {name}", number)

    def _check_padding(self) -> None:
        if isinstance(self.padding, str):
            _one_of(f"{self.title} padding", self.padding, MODES)
            return
        ok = isinstance(self.padding, tuple) and len(self.padding) == self.ndim
        if not ok or not all(isinstance(p, tuple) and len(p) == 2 and all(map(_is_size, p)) for p in self.padding):
            raise ValueError(
                f"{self.title} padding expected 'same', 'valid' or {self.ndim} (low, high) pairs of integers >= 0, got {self.padding!r}"
            )

    @property
    def title(self) -> str:
        """The name that users know: ConvGRU, ConvLSTM or ConvRNN."""
        return TITLES[self.cell]

    @property
    def gates(self) -> int:
        """How many gates the cell has: its weights hold gates · hidden_channels rows."""
        return len(GATES[self.cell])

    @property
    def state_names(self) -> tuple[str, ...]:
        """What a state consists of: ``("h",)``, or ``("h", "c")`` for an LSTM."""
        return ("h", "c") if self.cell == "lstm" else ("h",)

    @property
    def input_convolution(self) -> Convolution:
        """Geometry of W*x."""
        return Convolution(self.kernel_size, self.dilation, self.padding)

    @property
    def recurrent_convolution(self) -> Convolution:
        """Geometry of U*h."""
        return Convolution(self.recurrent_kernel_size, self.recurrent_dilation, "same")


@dataclass(frozen=True)
class NetworkSpec:
    """A stack of layers of the same cell and ndim, each reading the output of the one before."""

    layers: tuple[CellSpec, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.layers, tuple) or not self.layers:
            raise ValueError(f"NetworkSpec.layers expected a tuple of at least one CellSpec, got {self.layers!r}")
        first = self.layers[0]
        for index, (below, layer) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=1):
            if (layer.cell, layer.ndim) != (first.cell, first.ndim):
                raise ValueError(
                    f"NetworkSpec.layers[{index}] expected cell {first.cell!r} with ndim {first.ndim} as layer 0, got {layer.cell!r} with ndim {layer.ndim}"
                )
            if layer.in_channels != below.hidden_channels:
                raise ValueError(
                    f"NetworkSpec.layers[{index}] expected {below.hidden_channels} in_channels (layer {index - 1}'s hidden_channels), got {layer.in_channels}"
                )

    @property
    def recurrent(self) -> NetworkSpec:
        """The layers with a state: itself."""
        return self

    @property
    def cell(self) -> str:
        """``gru``, ``lstm`` or ``rnn``."""
        return self.layers[0].cell

    @property
    def title(self) -> str:
        """The name that users know: ConvGRU, ConvLSTM or ConvRNN."""
        return self.layers[0].title

    @property
    def ndim(self) -> int:
        """How many spatial dimensions."""
        return self.layers[0].ndim

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.layers[0].in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.layers[-1].hidden_channels


@dataclass(frozen=True)
class ForecasterSpec:
    """Frames in, the frames that follow out: pixel unshuffle by ``patch``, ``encoder``, 1x1 readout, pixel shuffle.

    After the last given frame it feeds on its own predictions. A ``residual`` one predicts the change of the frame.
    """

    encoder: NetworkSpec
    patch: tuple[int, ...]
    residual: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, NetworkSpec):
            raise TypeError(f"ForecasterSpec.encoder expected a NetworkSpec, got {self.encoder!r}")
        if not isinstance(self.patch, tuple) or len(self.patch) != self.ndim:
            raise ValueError(f"Forecaster patch expected a tuple of {self.ndim} (ndim), got {self.patch!r}")
        for number in self.patch:
            _positive("Forecaster patch", number)
        if not isinstance(self.residual, bool):
            raise TypeError(f"Forecaster residual expected True or False, got {self.residual!r}")
        if self.encoder.in_channels % prod(self.patch):
            raise ValueError(
                f"Forecaster encoder expected in_channels that are a multiple of {prod(self.patch)} (patch {self.patch}), got {self.encoder.in_channels}"
            )
        for index, layer in enumerate(self.encoder.layers):
            if any(layer.input_convolution.growth):
                raise ValueError(
                    f"Forecaster encoder expected layers that keep the image size, got padding {layer.padding!r} in layer {index}"
                )

    title = "Forecaster"

    @property
    def recurrent(self) -> NetworkSpec:
        """The layers with a state: the encoder."""
        return self.encoder

    @property
    def ndim(self) -> int:
        """How many spatial dimensions."""
        return self.encoder.ndim

    @property
    def channels(self) -> int:
        """Channels of a frame, given or predicted."""
        return self.encoder.in_channels // prod(self.patch)

    in_channels = channels


Spec = NetworkSpec | ForecasterSpec


def network(
    cell: str,
    in_channels: int,
    hidden_channels: int | list[int],
    kernel_size: Ints | list[Ints] = 3,
    num_layers: int | None = None,
    *,
    ndim: int = 2,
    recurrent_kernel_size: Ints | list[Ints] | None = None,
    dilation: Ints | list[Ints] = 1,
    recurrent_dilation: Ints | list[Ints] | None = None,
    padding: Any = "same",
    bias: bool = True,
    reset: str | None = None,
    activation: str = "tanh",
) -> NetworkSpec:
    """Describe a network as users write it: a tuple is per dimension, a list per layer, a number for all.

    ``num_layers`` None means the length of the lists given, else 1. The recurrent kernel size and dilation default to the
    input's. ``padding`` is ``same``, ``valid``, a number, or a tuple with a number or a (low, high) pair for each
    dimension. ``reset`` defaults to ``before`` for a GRU. Raises ValueError or TypeError, naming the argument.
    """
    _one_of("cell", cell, tuple(GATES))
    _one_of("ndim", ndim, (1, 2, 3))
    title = TITLES[cell]
    given = {
        "hidden_channels": hidden_channels,
        "kernel_size": kernel_size,
        "recurrent_kernel_size": kernel_size if recurrent_kernel_size is None else recurrent_kernel_size,
        "dilation": dilation,
        "recurrent_dilation": dilation if recurrent_dilation is None else recurrent_dilation,
        "padding": padding,
    }
    count = _count_layers(title, given, num_layers)
    layers: list[CellSpec] = []
    for index in range(count):
        sizes = {name: value[index] if isinstance(value, list) else value for name, value in given.items()}
        for name in set(sizes) - {"hidden_channels"}:
            sizes[name] = _per_dimension(sizes[name], ndim, pairs=name == "padding")
        channels = layers[-1].hidden_channels if layers else in_channels
        gate = "before" if cell == "gru" and reset is None else reset
        layers.append(CellSpec(cell, ndim, channels, bias=bias, reset=gate, activation=activation, **sizes))
    return NetworkSpec(tuple(layers))


def forecaster(
    cell: str,
    channels: int,
    hidden_channels: int | list[int],
    kernel_size: Ints | list[Ints] = 3,
    num_layers: int | None = None,
    *,
    ndim: int = 2,
    patch: Ints = 1,
    residual: bool = True,
    **options: Any,
) -> ForecasterSpec:
    """Describe a forecaster of frames with ``channels`` channels; the other arguments are those of ``network``."""
    patches = _per_dimension(patch, ndim)
    for number in patches if isinstance(patches, tuple) else (patches,):
        _positive("Forecaster patch", number)
    _positive("Forecaster channels", channels)
    inside = channels * prod(patches)
    encoder = network(cell, inside, hidden_channels, kernel_size, num_layers, ndim=ndim, **options)
    return ForecasterSpec(encoder, patches, residual)


def _count_layers(title: str, given: Mapping[str, Any], num_layers: int | None) -> int:
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, list)}
    count = num_layers if num_layers is not None else next(iter(lengths.values()), 1)
    _positive(f"{title} num_layers", count)
    for name, length in lengths.items():
        if length != count:
            text = f"{title} {name} expected a list of {count} (one for each layer), got {length}: {given[name]!r}"
            raise ValueError(text)
    return count


def _per_dimension(value: Any, ndim: int, *, pairs: bool = False) -> Any:
    """Spread a number over the dimensions; whatever is not a number or a tuple is left for validation to refuse."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value,) * ndim
    if pairs and isinstance(value, tuple):
        return tuple((each, each) if isinstance(each, int) else each for each in value)
    return value


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _positive(name: str, value: object) -> None:
    if not _is_size(value) or value == 0:
        raise ValueError(f"{name} expected a positive integer, got {value!r}")


def _one_of(name: str, value: object, choices: Sequence[object]) -> None:
    if type(value) not in {type(choice) for choice in choices} or value not in choices:  # 2.0 is not 2 here
        raise ValueError(f"{name} expected one of {', '.join(map(repr, choices))}, got {value!r}")
