"""Stacks of layers, and forecasters made of them: frozen, hashable, validated."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from convgru.spec.cell import CellSpec
from convgru.spec.fields import flag, one_of, probability, sizes

BIDIRECTIONAL = (None, "layer", "stack")
"""One direction, two in each layer, or two whole stacks."""
MERGES = ("concat", "sum", "mean", "mul")
"""How two directions become one output."""


@dataclass(frozen=True, repr=False)
class NetworkSpec:
    """A stack of layers of the same cell and ndim, each reading the output of the one before.

    ``bidirectional``: None; ``layer``: each layer runs both ways and the next sees both
    (torch.nn.GRU); ``stack``: a whole stack forward, a whole stack backward, merged at the top.
    ``merge`` says how two directions become one output. ``dropout`` acts between layers,
    ``recurrent_dropout`` on h where it enters U, with one mask for all steps (Gal and Ghahramani
    2016), ``zoneout`` keeps old state (Krueger et al. 2017): all three are probabilities.
    ``output_size`` pools the input to a fixed size (adaptive average).
    """

    layers: tuple[CellSpec, ...]
    bidirectional: str | None = None
    merge: str = "concat"
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    output_size: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layers, tuple) or not self.layers:
            raise ValueError(f"NetworkSpec.layers expected a tuple of at least one CellSpec, got {self.layers!r}")
        for index, layer in enumerate(self.layers):
            if not isinstance(layer, CellSpec):
                raise TypeError(f"NetworkSpec.layers[{index}] expected a CellSpec, got {type(layer).__name__}")
        one_of(f"{self.title} bidirectional", self.bidirectional, BIDIRECTIONAL)
        one_of(f"{self.title} merge", self.merge, MERGES)
        for name in ("dropout", "recurrent_dropout", "zoneout"):
            probability(f"{self.title} {name}", getattr(self, name))
            object.__setattr__(self, name, abs(float(getattr(self, name))))  # 0 and -0.0 are 0.0 in files too
        if self.output_size is not None:
            sizes(f"{self.title} output_size", self.output_size, self.ndim)
        self._check_chain()

    def _check_chain(self) -> None:
        first = self.layers[0]
        for index, layer in enumerate(self.layers[1:], start=1):
            if (layer.cell, layer.ndim) != (first.cell, first.ndim):
                raise ValueError(
                    f"NetworkSpec.layers[{index}] expected cell {first.cell!r} with ndim {first.ndim} as layer 0, got {layer.cell!r} with ndim {layer.ndim}"
                )
            below = self.layer_channels(index - 1)
            if layer.in_channels != below:
                raise ValueError(
                    f"NetworkSpec.layers[{index}] expected {below} in_channels (the output of layer {index - 1}), got {layer.in_channels}"
                )

    def __repr__(self) -> str:
        from convgru.spec.describe import network_text  # which stands on this module

        return network_text(self)

    def layer_channels(self, index: int) -> int:
        """Channels of the output of a layer, as the next one sees it."""
        both = self.bidirectional == "layer" and self.merge == "concat"
        return self.layers[index].hidden_channels * (2 if both else 1)

    @property
    def recurrent(self) -> NetworkSpec:
        """The NetworkSpec that owns the state: this one (a forecaster's is its encoder)."""
        return self

    @property
    def directions(self) -> tuple[str, ...]:
        """``("fwd",)``, or ``("fwd", "bwd")``: the order of the states within a layer."""
        return ("fwd",) if self.bidirectional is None else ("fwd", "bwd")

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
        """Number of spatial dimensions."""
        return self.layers[0].ndim

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.layers[0].in_channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        both = self.bidirectional is not None and self.merge == "concat"
        return self.layers[-1].hidden_channels * (2 if both else 1)


@dataclass(frozen=True, repr=False)
class ForecasterSpec:
    """Predict the frames that follow: pixel unshuffle, encoder, 1x1 readout, pixel shuffle.

    After the last given frame the forecaster's input is its last prediction; without ``feedback``
    it is zeros (Srivastava et al. 2015). With a ``decoder``, another network takes over there,
    starting from the encoder's states. A ``residual`` forecaster predicts the change of the frame.
    """

    encoder: NetworkSpec
    patch: tuple[int, ...]
    residual: bool = True
    decoder: NetworkSpec | None = None
    feedback: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.encoder, NetworkSpec):
            raise TypeError(f"ForecasterSpec.encoder expected a NetworkSpec, got {self.encoder!r}")
        sizes("Forecaster patch", self.patch, self.ndim)
        flag("Forecaster residual", self.residual)
        flag("Forecaster feedback", self.feedback)
        if self.encoder.in_channels % prod(self.patch):
            raise ValueError(
                f"Forecaster encoder expected in_channels that are a multiple of {prod(self.patch)} (patch {self.patch}), got {self.encoder.in_channels}"
            )
        _check_inside("encoder", self.encoder)
        if self.decoder is not None:
            if not isinstance(self.decoder, NetworkSpec):
                raise TypeError(f"ForecasterSpec.decoder expected a NetworkSpec or None, got {self.decoder!r}")
            _check_inside("decoder", self.decoder)
            self._check_decoder(self.decoder)

    def _check_decoder(self, decoder: NetworkSpec) -> None:
        """Check that the decoder reads the encoder's input and can start from its states."""
        wanted = (
            self.encoder.cell,
            self.ndim,
            self.encoder.in_channels,
            [c.hidden_channels for c in self.encoder.layers],
        )
        got = (decoder.cell, decoder.ndim, decoder.in_channels, [c.hidden_channels for c in decoder.layers])
        if wanted != got:
            raise ValueError(
                f"Forecaster decoder expected cell, ndim, in_channels and hidden channels {wanted} as the encoder, got {got}"
            )

    def __repr__(self) -> str:
        from convgru.spec.describe import forecaster_text  # which stands on this module

        return forecaster_text(self)

    title = "Forecaster"

    @property
    def recurrent(self) -> NetworkSpec:
        """The NetworkSpec that owns the state: the encoder (a decoder's has the same shapes)."""
        return self.encoder

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return self.encoder.ndim

    @property
    def channels(self) -> int:
        """Channels of a frame, given or predicted."""
        return self.encoder.in_channels // prod(self.patch)

    in_channels = channels


def _check_inside(name: str, network: NetworkSpec) -> None:
    """Check that a network can feed on its output: it runs forward and keeps the image size."""
    if network.bidirectional is not None or network.output_size is not None:
        raise ValueError(
            f"Forecaster {name} expected neither bidirectional nor output_size, got {network.bidirectional!r}, {network.output_size!r}"
        )
    for index, layer in enumerate(network.layers):
        for size in ((16,) * layer.ndim, (23,) * layer.ndim):
            if layer.input_convolution.output_size(size) != size:
                raise ValueError(
                    f"Forecaster {name} expected layers that keep the image size, got padding {layer.padding!r} and stride {layer.stride} in layer {index}"
                )


Spec = NetworkSpec | ForecasterSpec
"""What a network is."""
