"""ConvGRU, ConvLSTM and ConvRNN: layers of cells over whole sequences, or one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import jax
from flax import nnx

from convgru.calls import flags
from convgru.spec import Ints, NetworkSpec
from convgru.spec.options import explicit
from convgru.spec.shapes import layer_prefix
from convgru_flax import arguments, parameters
from convgru_flax.cells import CELLS, ConvCell
from convgru_flax.modules import SequenceModule
from convgru_flax.options import DEFAULTS, GRUStackOptions, LSTMStackOptions, RNNStackOptions, network_spec, split
from convgru_flax.parameters import Params
from convgru_jax import functional
from convgru_jax.compiled import Options


class Layer(nnx.Module):
    """One layer: its cells are ``fwd`` and, if it runs both ways, ``bwd``.

    Paths of parameters are thus the canonical names.
    """

    fwd: ConvCell
    bwd: ConvCell

    def __init__(self, cells: Mapping[str, ConvCell]) -> None:
        for direction, cell in cells.items():
            setattr(self, direction, cell)


class ConvStack(SequenceModule[NetworkSpec]):
    """Base of the three networks: layers at ``layers.{l}.fwd`` and ``.bwd``, run over sequences."""

    kind: ClassVar[str]
    _spec_type = NetworkSpec

    def _build(
        self,
        in_features: Any,
        hidden_features: Any,
        kernel_size: Any,
        num_layers: int | None,
        options: Any,
        table: type,
    ) -> None:
        """Make the network from its constructor's arguments; ``table`` lists the options it has."""
        title = type(self).__name__
        described, stored, called = split(title, options, table)
        spec = network_spec(title, self.kind, in_features, hidden_features, kernel_size, num_layers, described)
        params = parameters.create(title, spec, **stored)
        self._set_options(spec, stored.get("rngs"), **called)
        self.layers = nnx.List(
            Layer({direction: self._cell(index, direction, params) for direction in spec.directions})
            for index in range(len(spec.layers))
        )

    def _cell(self, index: int, direction: str, params: Params) -> ConvCell:
        """Make the cell of one layer and direction, around its share of the parameters."""
        prefix = layer_prefix(index, direction)
        params_of_cell = {
            layer_prefix(0) + name.removeprefix(prefix): param
            for name, param in params.items()
            if name.startswith(prefix)
        }
        spec = NetworkSpec((self.spec.layers[index],))
        return CELLS[self.kind].from_spec(spec, arrays=params_of_cell, dtype=self.dtype, method=self.method)

    @property
    def in_features(self) -> int:
        """Channels of the input."""
        return self.spec.in_channels

    @property
    def out_features(self) -> int:
        """Channels of the output: the last layer's, of both directions if they are concatenated."""
        return self.spec.out_channels

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their canonical names, as ``convgru.jax`` takes them.

        Raises ValueError for a cell that computes something else than the network's spec says.
        """
        return {
            name: array
            for index, layer in enumerate(self.layers)
            for direction in self.spec.directions
            for name, array in self._own(getattr(layer, direction), index, direction).items()
        }

    def _own(self, cell: Any, index: int, direction: str) -> dict[str, jax.Array]:
        """A cell's arrays, if it is what the network runs: spec and options are read from here."""
        prefix = layer_prefix(index, direction)
        self._check_part(prefix[:-1], cell, CELLS[self.kind], NetworkSpec((self.spec.layers[index],)))
        arrays: dict[str, jax.Array] = cell.arrays(prefix)
        return arrays

    def __call__(
        self,
        x: Any,
        initial_carry: Any = None,
        *,
        seq_lengths: Any = None,
        context: Any = None,
        masks: Mapping[str, Any] | None = None,
        return_all_layers: bool = False,
        last_only: bool = False,
        deterministic: bool | None = None,
        rngs: Any = None,
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run over a sequence.

        Args:
            x: frames (B, T, *S, C), or (T, B, *S, C) if ``time_major``.
            initial_carry: None for zeros, or a tuple with one entry for each layer and direction,
                forward first: h (B, *S, H), or (h, c) for an LSTM.
            seq_lengths: (B,), how many frames of each sample are valid. Past the end the output is
                zero, the carry returned is the one after the last valid frame, and nothing that
                stands in the padding matters, NaN included.
            context: for each layer and direction (B, *S, G·H), or the same with time as x has it,
                added to the pre-activations of all gates.
            masks: of dropout and zoneout, time first, as ``convgru.jax.draw_masks`` makes them.
            return_all_layers: a tuple of every layer's output instead of the top one's.
            last_only: the output of each sample's last valid frame alone, (B, *S, H); the top
                layer's others are not kept.
            deterministic: evaluation if True, training if False; None means the module's own
                attribute, which ``train()`` and ``eval()`` set.
            rngs: an nnx.Rngs (its stream ``dropout``), a stream or a key to draw masks from,
                instead of the module's own.

        Returns:
            The top layer's h at every frame, in the layout of x; and the carry after the last
            frame.

        Raises:
            ValueError: a shape is not what the network expects, or there are no rngs to draw
                dropout from.
            TypeError: something is not an array of real numbers.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        computed = (self.arrays(), x, initial_carry, context)
        (arrays, x, carry, context), masks = arguments.promote(type(self).__name__, self.dtype, computed, masks)
        draws = not self._evaluates(deterministic) and masks is None and self._draws_masks
        extras = (seq_lengths, context, masks)
        frames = self.checkpoint_frames
        every, last = flags(type(self).__name__, return_all_layers=return_all_layers, last_only=last_only)
        options = Options(self.method, every, last, checkpoint_frames=frames)
        return functional.run(self._caller(self._layout), arrays, x, carry, extras, self._key(draws, rngs), options)

    def step(
        self,
        x: Any,
        carry: Any = None,
        *,
        context: Any = None,
        masks: Mapping[str, Any] | None = None,
        deterministic: bool | None = None,
        rngs: Any = None,
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """Run on one frame x (B, *S, C): output (B, *S, H) and carry, as a call on the sequence.

        Arguments and errors as there; in training the masks of each step are its own. A network
        with a backward direction has no steps: TypeError.
        """
        computed = (self.arrays(), x, carry, context)
        (arrays, x, carry, context), masks = arguments.promote(type(self).__name__, self.dtype, computed, masks)
        draws = not self._evaluates(deterministic) and masks is None and self._draws_masks
        caller, key = self._caller("BSC"), self._key(draws, rngs)
        return functional.run_step(caller, arrays, x, carry, context, masks, key, self.method)


@explicit(GRUStackOptions, DEFAULTS)
class ConvGRU(ConvStack):
    """Layers of convolutional GRUs (Ballas et al. 2015, arXiv:1511.06432).

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + U_n*(r∘h))    h' = z∘h + (1−z)∘n

    Args:
        in_features: channels C of the input; or a NetworkSpec instead of all arguments that
            describe the network.
        hidden_features: channels H of the hidden state; a list is per layer.
        kernel_size: of the convolution over the input, None means 3; a tuple is per dimension, a
            list per layer.
        num_layers: None means the length of a list of hidden_features, else 1.
        bidirectional: True or ``layer``: each layer runs both ways and the next sees both;
            ``stack``: two whole stacks.
        merge: how two directions become one output: ``concat``, ``sum``, ``mean`` or ``mul``.
        dropout: probability of dropping a number between two layers.
        recurrent_dropout: of dropping one of h where it enters U, with one mask for all frames.
        zoneout: of keeping the old number of the state.
        output_size: pool the input to this size first (adaptive average).
        time_major: x and output are (T, B, *S, C) instead of (B, T, *S, C).
        deterministic: evaluation if True: no dropout, the mean of zoneout; ``train()`` and
            ``eval()`` change it.
        checkpoint_frames: run sequences in parts of so many frames and, for the gradient, each part
            again: only the states between them and the outputs are kept.
        rngs: draws the initial parameters from its stream ``params``; a network with dropout or
            zoneout keeps a fork of its stream ``dropout``.
        **options: those of each layer, and how parameters are made: as for ConvGRUCell.

    Parameters: ``layers.{l}.fwd.weight_ih`` (3H, C/groups, *k) and so on as in ConvGRUCell,
    ``layers.{l}.bwd.`` for the second direction.

    Raises:
        ValueError, TypeError: for arguments that describe no network, naming the argument.

    Example::

        net = ConvGRU(1, [16, 16], kernel_size=3, rngs=nnx.Rngs(0))
        output, carry = net(x)  # x (B, T, H, W, 1), output (B, T, H, W, 16), carry (h0, h1)
        output, carry = net.step(frame, carry)  # frame (B, H, W, 1)
    """

    kind = "gru"

    def __init__(
        self,
        in_features: int | NetworkSpec,
        hidden_features: int | list[int] | None = None,
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        **options: Unpack[GRUStackOptions],
    ) -> None:
        self._build(in_features, hidden_features, kernel_size, num_layers, options, GRUStackOptions)


@explicit(LSTMStackOptions, DEFAULTS)
class ConvLSTM(ConvStack):
    """Layers of convolutional LSTMs (Shi et al. 2015, arXiv:1506.04214).

    i, f, o = σ(W*x + U*h + P·c + b)    g = φ(W_g*x + U_g*h + b_g)    c' = f∘c + i∘g    h' = o∘φ(c')

    Arguments and errors are those of ConvGRU, those of each layer as for ConvLSTMCell. Each layer's
    carry is (h, c); that of nnx's own cells is (c, h).

    Example::

        net = ConvLSTM(1, 16, num_layers=2, rngs=nnx.Rngs(0))
        output, ((h0, c0), (h1, c1)) = net(x)  # x (B, T, H, W, 1)
    """

    kind = "lstm"

    def __init__(
        self,
        in_features: int | NetworkSpec,
        hidden_features: int | list[int] | None = None,
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        **options: Unpack[LSTMStackOptions],
    ) -> None:
        self._build(in_features, hidden_features, kernel_size, num_layers, options, LSTMStackOptions)


@explicit(RNNStackOptions, DEFAULTS)
class ConvRNN(ConvStack):
    """Layers of convolutional RNNs (Elman 1990, with convolutions): h' = φ(W*x + U*h + b).

    Arguments and errors are those of ConvGRU, those of each layer as for ConvRNNCell.

    Example::

        net = ConvRNN(3, 8, activation="relu", ndim=1, rngs=nnx.Rngs(0))
        output, (h,) = net(x)  # x (B, T, L, 3)
    """

    kind = "rnn"

    def __init__(
        self,
        in_features: int | NetworkSpec,
        hidden_features: int | list[int] | None = None,
        kernel_size: Ints | list[Ints] | None = None,
        num_layers: int | None = None,
        **options: Unpack[RNNStackOptions],
    ) -> None:
        self._build(in_features, hidden_features, kernel_size, num_layers, options, RNNStackOptions)


STACKS: dict[str, type[ConvStack]] = {stack.kind: stack for stack in (ConvGRU, ConvLSTM, ConvRNN)}
"""The public network of each kind."""
