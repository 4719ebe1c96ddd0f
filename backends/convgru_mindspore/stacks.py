"""Stacks of layers over a sequence of frames: ConvGRU, ConvLSTM, ConvRNN."""

from __future__ import annotations

from typing import Any, Unpack

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru.spec import TITLES, Ints, NetworkSpec, network
from convgru.spec.shapes import layer_prefix
from convgru.weights import Weights
from convgru_mindspore import functional
from convgru_mindspore.arguments import ready_extras, ready_state
from convgru_mindspore.cells import CELLS, Layer
from convgru_mindspore.loop import step_names
from convgru_mindspore.options import ConvGRUOptions, ConvLSTMOptions, ConvRNNOptions, explicit, taken
from convgru_mindspore.parameters import (
    check_flags,
    checked_call,
    checked_cell,
    checked_extras,
    describe,
    part_of,
    starting_weights,
)


class Stack(nn.Cell):
    """What the three stacks share."""

    spec: NetworkSpec
    kind: str

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec,
        *,
        weights: Weights | None = None,
        batch_first: bool = False,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> Any:
        """The network that ``spec`` describes, with these weights (their dtype then counts) or initial ones."""
        net = cls.__new__(cls)
        nn.Cell.__init__(net)
        net._hold(spec, weights, batch_first, dtype, accurate)
        return net

    def _hold(self, spec: NetworkSpec, weights: Weights | None, batch_first: bool, dtype: Any, accurate: bool) -> None:
        checked_cell(TITLES[self.kind], self.kind, spec)
        check_flags(spec.title, batch_first=batch_first, accurate=accurate)
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.batch_first, self.accurate = spec, batch_first, accurate
        self.layout = "BTCS" if batch_first else "TBCS"
        self.both = len(spec.directions) == 2
        layers = []
        for index, cell in enumerate(spec.layers):
            own, cells = NetworkSpec((cell,)), {}
            for direction in spec.directions:
                part = part_of(weights, own, layer_prefix(index, direction), layer_prefix(0))
                cells[direction] = CELLS[cell.cell].from_spec(own, weights=part, accurate=accurate)
            layers.append(Layer(cells))
        self.layers = nn.CellList(layers)
        self.set_train(False)  # said aloud: a graph compiled before the first set_train would never see a later one

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, which x and state must have."""
        return self.layers[0].fwd.dtype

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
        dtype = self.dtype
        state = checked_call(self.spec, x, state, dtype, self.layout)
        extras = checked_extras(self.spec, x, seq_length, context, masks, dtype, self.layout)
        return super().__call__(x, state, *extras, bool(return_all_layers), bool(last_only))

    def construct(
        self,
        x: Any,
        state: Any = None,
        seq_length: Any = None,
        context: Any = None,
        masks: Any = None,
        return_all_layers: bool = False,
        last_only: bool = False,
    ) -> Any:
        """Output and final state for the sequence x."""
        if isinstance(seq_length, (list, tuple)):
            seq_length = ms.Tensor(seq_length, ms.int32)
        dtype = self.layers[0].fwd.first().dtype
        state = ready_state(self.spec, x, state, dtype, self.layout)
        extras = ready_extras(self.spec, x, seq_length, context, masks, dtype, self.layout)
        if self.batch_first:
            x = mops.swapaxes(x, 0, 1)
        y, state = functional.compute(
            self.spec, self.arrays(), x, state, self.accurate, extras, return_all_layers, last_only, self.training
        )
        if self.batch_first and not last_only:
            y = _batch_first(y)
        return y, state

    def step(self, x: Any, state: Any = None, context: Any = None, masks: Any = None) -> Any:
        """One frame x (B, C, *S): (output, state), as the sequence call gives frame by frame.

        ``context`` as in the call, (B, G·H, *S) each; in training each call draws masks of its own, unless ``masks`` of one frame are
        given. Raises what the sequence call raises, and TypeError for a bidirectional network. Example: ``y, state = net.step(frame, state)``.
        """
        if self.both:
            raise TypeError(
                f"{self.spec.title} expected a whole sequence: it is bidirectional, and its second direction starts at the end"
            )
        dtype = self.layers[0].fwd.first().dtype
        state = ready_state(self.spec, x, state, dtype, "BCS")
        extras = ready_extras(self.spec, x, None, context, masks, dtype, "BCS")
        frames = mops.expand_dims(x, 0)
        return functional.compute(
            self.spec, self.arrays(), frames, state, self.accurate, extras, False, True, self.training
        )

    def arrays(self) -> dict[str, Any]:
        """The parameters by their canonical names."""
        arrays = {}
        for index, layer in enumerate(self.layers):
            names = step_names(self.spec, index, "")
            own = layer.fwd.arrays(names[0])
            for name in own:
                arrays[name] = own[name]
            if self.both:
                other = layer.bwd.arrays(names[1])
                for name in other:
                    arrays[name] = other[name]
        return arrays

    def __repr__(self) -> str:
        return describe(
            self.spec, self.dtype, batch_first=self.batch_first or None, accurate=None if self.accurate else False
        )


def _batch_first(y: Any) -> Any:
    """One output, or one for each layer, batch first."""
    if isinstance(y, (tuple, list)):
        return tuple([mops.swapaxes(each, 0, 1) for each in y])
    return mops.swapaxes(y, 0, 1)


@explicit(ConvGRUOptions)
class ConvGRU(Stack):
    r"""Convolutional GRU over a sequence (Ballas et al. 2015, arXiv:1511.06432), one or more layers.

    r = σ(W_r*x + U_r*h + b_r), z = σ(W_z*x + U_z*h + b_z), n = φ(W_n*x + b_n + U_n*(r∘h)), h' = z∘h + (1−z)∘n; with
    ``reset="after"`` n = φ(W_n*x + b_n + r∘(U_n*h + b_hn)), as in cuDNN. See ``convgru.equations``.

    ``net(x, state=None, seq_length=None, *, context=None, masks=None, return_all_layers=False, last_only=False)``:
    x (T, B, C, *S), or (B, T, C, *S) with ``batch_first``; state None for zeros, else a tuple with h (B, H, *S) for each layer and
    direction, forward before backward. Returns the top layer's h for every frame, in the layout of x, and the final state.
    ``seq_length``: valid frames of each sample, a list or a Tensor of integers: what lies past them is not read, NaN or not, its output is
    zero, and the backward direction starts at the last valid frame. ``context``: for each entry of the state (B, G·H, *S), or one for
    each frame, in the layout of x, added to the pre-activations. ``masks``: a dict of masks of dropout and zoneout by the names and shapes of
    ``convgru.spec.shapes.mask_shapes``, time first, instead of random ones. ``return_all_layers``: a tuple with every layer's output.
    ``last_only``: each sample's last valid output alone, (B, H, *S).

    In graph mode a state, context or dict of masks passed to a function of your own should go through ``mindspore.mutable``; a call of
    the module from Python does it itself, and a new state, seq_length, context or mask does not compile again.

    Args:
        in_channels, hidden_channels, kernel_size, num_layers: a tuple is per dimension, a list per layer; ``num_layers``
            None means the length of the lists given, else 1.
        ndim: 1, 2 or 3 spatial dimensions.
        recurrent_kernel_size, stride, recurrent_stride, dilation, recurrent_dilation, groups: of the two convolutions; the recurrent
            kernel and dilation default to the input's, groups divide each gate by itself.
        padding: of the input convolution: ``same``, ``valid``, ``preserve``, a number, or for each dimension a number or (low, high).
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        has_bias: whether there are biases.
        reset: ``before`` or ``after`` the recurrent convolution.
        activation, recurrent_activation: of n, and of r and z: one of ``convgru.spec.ACTIVATIONS``.
        norm: groups of a group norm of the pre-activations (1: layer norm), or a ``convgru.spec.Norm``.
        updates: kernel sizes of several steps in a row on one state (RAFT's SepConvGRU).
        bidirectional: True or ``layer``: each layer runs both ways; ``stack``: two whole stacks. merge: ``concat``, ``sum``, ``mean``, ``mul``.
        dropout, recurrent_dropout, zoneout: probabilities, at work after ``set_train()``; in evaluation zoneout keeps its mean. In graph
            mode, as with ``nn.Dropout``, a network of your own that holds this one must say ``set_train`` before its first call,
            and a function under ``mindspore.jit`` keeps the mode it was compiled in.
        output_size: size to which the input is pooled.
        batch_first: whether x and output are (B, T, ...).
        dtype: of the parameters: mindspore.float32, float16 or float64; x must have it too.
        accurate: sigmoid and tanh in float64, rounded once. False takes MindSpore's own, off by 8e-7 and 1e-4 in float32.

    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> net = ConvGRU(3, [16, 8])
        >>> y, state = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
        >>> y, state = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32), state, seq_length=[4, 2])
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
        super().__init__()
        rest, own = taken("ConvGRU", dict(options), ConvGRUOptions)
        self._hold(
            network("gru", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **rest), None, **own
        )


@explicit(ConvLSTMOptions)
class ConvLSTM(Stack):
    r"""Convolutional LSTM over a sequence (Shi et al. 2015, arXiv:1506.04214), one or more layers.

    i, f, o = σ(W*x + U*h + P·c + b), g = φ(W_g*x + U_g*h + b_g), c' = f∘c + i∘g, h' = o∘φ(c'); o peeps at c'. See
    ``convgru.equations``.

    Arguments, layouts and errors as in ``ConvGRU``; the state has a pair (h, c) for each layer and direction. ``peephole``: None,
    ``hadamard`` (one weight for each channel, or with ``state_size`` for each pixel) or ``conv``.

    Example:
        >>> net = ConvLSTM(3, 8)
        >>> y, ((h, c),) = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
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
        super().__init__()
        rest, own = taken("ConvLSTM", dict(options), ConvLSTMOptions)
        self._hold(
            network("lstm", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **rest), None, **own
        )


@explicit(ConvRNNOptions)
class ConvRNN(Stack):
    r"""Convolutional form of Elman's network (1990) over a sequence: h' = φ(W*x + U*h + b), one or more layers.

    Arguments, layouts and errors as in ``ConvGRU``.

    Example:
        >>> net = ConvRNN(3, 8, activation="relu")
        >>> y, (h,) = net(ms.ops.ones((4, 2, 3, 32, 32), ms.float32))
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
        super().__init__()
        rest, own = taken("ConvRNN", dict(options), ConvRNNOptions)
        self._hold(
            network("rnn", in_channels, hidden_channels, kernel_size, num_layers, ndim=ndim, **rest), None, **own
        )


STACKS: dict[str, type[Stack]] = {"gru": ConvGRU, "lstm": ConvLSTM, "rnn": ConvRNN}
