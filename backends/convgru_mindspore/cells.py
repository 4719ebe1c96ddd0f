"""Bare cells: one layer of a convolutional recurrent network, one frame a call."""

from __future__ import annotations

from typing import Any, Unpack

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn

from convgru.spec import TITLES, CellSpec, Ints, NetworkSpec, network
from convgru.spec.shapes import cell_parameter_shapes, layer_prefix
from convgru.weights import Weights
from convgru_mindspore import functional
from convgru_mindspore.arguments import ready_extras, ready_state
from convgru_mindspore.loop import step_names
from convgru_mindspore.options import Common, GRUOptions, LSTMOptions, explicit, taken
from convgru_mindspore.parameters import (
    check_flags,
    checked_call,
    checked_cell,
    checked_extras,
    describe,
    parameter,
    starting_weights,
)

PREFIX = layer_prefix(0)
NAMES = (
    "weight_ih", "weight_hh", "bias", "bias_hn", "peephole_i", "peephole_f", "peephole_o", "norm_weight", "norm_bias",
)  # fmt: skip


class Parameters(nn.Cell):
    """The parameters of one plain cell, under their short names; what it does not have is None."""

    def hold(self, arrays: dict[str, Any]) -> None:
        """Take a copy of the arrays."""
        for name in NAMES:
            setattr(self, name, parameter(arrays[name], name) if name in arrays else None)

    def own(self, prefix: str) -> Any:
        """Those that are there, by their names behind a prefix."""
        found = {}
        for name in NAMES:
            value = getattr(self, name)
            if value is not None:
                found[prefix + name] = value
        return found


class Cell(Parameters):
    """What the three cells share; ``spec`` is a network of one layer, parameters have its short names."""

    spec: NetworkSpec
    kind: str

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec | CellSpec,
        *,
        weights: Weights | None = None,
        dtype: Any = ms.float32,
        accurate: bool = True,
    ) -> Any:
        """The cell that a spec of one layer describes, with these weights or initial ones."""
        net = cls.__new__(cls)
        nn.Cell.__init__(net)
        net._hold(NetworkSpec((spec,)) if isinstance(spec, CellSpec) else spec, weights, dtype, accurate)
        return net

    def _hold(self, spec: NetworkSpec, weights: Weights | None, dtype: Any, accurate: bool) -> None:
        title = f"{TITLES[self.kind]}Cell"
        checked_cell(title, self.kind, spec)
        if len(spec.layers) != 1:
            raise ValueError(f"{title} expected a spec of one layer, got {len(spec.layers)}")
        if spec != NetworkSpec(spec.layers):
            raise ValueError(f"{title} expected a spec of a layer alone, got {spec!r}")
        check_flags(title, accurate=accurate)
        weights = starting_weights(spec, dtype, weights)
        self.spec, self.accurate = spec, accurate
        arrays = {name: weights.arrays[PREFIX + name] for name in cell_parameter_shapes(spec.layers[0])}
        self.hold(arrays)
        self.repeated = len(spec.layers[0].updates) > 0
        if self.repeated:
            parts = []
            for index in range(len(spec.layers[0].updates)):
                start, part = f"updates.{index}.", Parameters()
                part.hold({name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)})
                parts.append(part)
            self.updates = nn.CellList(parts)

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, which x and state must have."""
        return self.updates[0].weight_ih.dtype if self.repeated else self.weight_ih.dtype

    def __call__(self, x: Any, state: Any = None, context: Any = None) -> Any:
        """Check the call, then run ``construct``."""
        given = None if state is None else (state,)
        given = checked_call(self.spec, x, given, self.dtype, "BCS")
        parts = None if context is None else (context,)
        checked_extras(self.spec, x, None, parts, None, self.dtype, "BCS")
        entry = None if given is None else given[0]
        # Taken out of its mutable tuple, an inner tuple is a constant again: each new state would compile anew.
        return super().__call__(x, ms.mutable(entry) if isinstance(entry, tuple) else entry, context)

    def construct(self, x: Any, state: Any = None, context: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The new state, h or (h, c), after the frame x (B, C, *S)."""
        given = None if state is None else (state,)
        parts = None if context is None else (context,)
        dtype = self.first().dtype
        given = ready_state(self.spec, x, given, dtype, "BCS")
        extras = ready_extras(self.spec, x, None, parts, None, dtype, "BCS")
        arrays = self.arrays(step_names(self.spec, 0, "")[0])
        frames = mops.expand_dims(x, 0)
        _, final = functional.compute(self.spec, arrays, frames, given, self.accurate, extras, False, True, False)
        return final[0]

    def first(self) -> Any:
        """The first of the parameters."""
        if self.repeated:
            return self.updates[0].weight_ih
        return self.weight_ih

    def arrays(self, prefixes: Any) -> Any:
        """The parameters by their canonical names, which begin with a prefix for each step."""
        if not self.repeated:
            return self.own(prefixes[0])
        found = {}
        for index, part in enumerate(self.updates):
            own = part.own(prefixes[index])
            for name in own:
                found[name] = own[name]
        return found

    def __repr__(self) -> str:
        return describe(self.spec, self.dtype, accurate=None if self.accurate else False).replace("(", "Cell(", 1)


@explicit(GRUOptions)
class ConvGRUCell(Cell):
    r"""One frame of a ConvGRU (Ballas et al. 2015, arXiv:1511.06432): ``h = cell(x, h)``.

    r = σ(W_r*x + U_r*h + b_r), z = σ(W_z*x + U_z*h + b_z), n = φ(W_n*x + b_n + U_n*(r∘h)), h' = z∘h + (1−z)∘n; with
    ``reset="after"`` n = φ(W_n*x + b_n + r∘(U_n*h + b_hn)), as in cuDNN. See ``convgru.equations``.

    Arguments as in ``ConvGRU``, but for those of a whole network. ``cell(x, h=None, context=None)``: x (B, C, *S), h (B, H, *S) or
    None for zeros, context (B, 3·H, *S), added to the pre-activations; returns the new h.
    Parameters: weight_ih (3·H, C/groups, *k), weight_hh (3·H, H/groups, *k), bias (3·H), bias_hn (H) with bias and reset after,
    norm_weight and norm_bias (3·H) with a norm; with ``updates`` these for each of them, as ``updates.0.weight_ih``.
    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> cell = ConvGRUCell(3, 8)
        >>> h = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
    """

    kind = "gru"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints = 3,
        *,
        ndim: int = 2,
        **options: Unpack[GRUOptions],
    ) -> None:
        super().__init__()
        rest, own = taken("ConvGRUCell", dict(options), GRUOptions)
        self._hold(network("gru", in_channels, hidden_channels, kernel_size, ndim=ndim, **rest), None, **own)


@explicit(LSTMOptions)
class ConvLSTMCell(Cell):
    r"""One frame of a ConvLSTM (Shi et al. 2015, arXiv:1506.04214): ``h, c = cell(x, (h, c))``.

    i, f, o = σ(W*x + U*h + P·c + b), g = φ(W_g*x + U_g*h + b_g), c' = f∘c + i∘g, h' = o∘φ(c'); o peeps at c'. See
    ``convgru.equations``.

    Arguments as in ``ConvLSTM``, but for those of a whole network. ``cell(x, state=None, context=None)``: x (B, C, *S), state (h, c),
    each (B, H, *S), or None for zeros, context (B, 4·H, *S); returns the new (h, c). Parameters: weight_ih (4·H, C/groups, *k),
    weight_hh (4·H, H/groups, *k), bias (4·H), peephole_i, _f, _o: (H, *S), (H, 1, ...) or (H, H/groups, *k).
    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> cell = ConvLSTMCell(3, 8)
        >>> h, c = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
    """

    kind = "lstm"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints = 3,
        *,
        ndim: int = 2,
        **options: Unpack[LSTMOptions],
    ) -> None:
        super().__init__()
        rest, own = taken("ConvLSTMCell", dict(options), LSTMOptions)
        self._hold(network("lstm", in_channels, hidden_channels, kernel_size, ndim=ndim, **rest), None, **own)


@explicit(Common)
class ConvRNNCell(Cell):
    r"""One frame of a ConvRNN (Elman 1990, with convolutions): ``h = cell(x, h)``, h' = φ(W*x + U*h + b).

    Arguments as in ``ConvRNN``, but for those of a whole network. ``cell(x, h=None, context=None)``: x (B, C, *S), h (B, H, *S) or
    None for zeros, context (B, H, *S); returns the new h.
    Parameters: weight_ih (H, C/groups, *k), weight_hh (H, H/groups, *k), bias (H).
    Raises ValueError, TypeError or UnsupportedError (bfloat16), naming what was expected and what came.

    Example:
        >>> cell = ConvRNNCell(3, 8, activation="relu")
        >>> h = cell(ms.ops.ones((2, 3, 16, 16), ms.float32))
    """

    kind = "rnn"

    def __init__(
        self, in_channels: int, hidden_channels: int, kernel_size: Ints = 3, *, ndim: int = 2, **options: Unpack[Common]
    ) -> None:
        super().__init__()
        rest, own = taken("ConvRNNCell", dict(options), Common)
        self._hold(network("rnn", in_channels, hidden_channels, kernel_size, ndim=ndim, **rest), None, **own)


class Layer(nn.Cell):
    """One layer: its cells, called ``fwd`` and ``bwd`` for the direction in which they read time."""

    def __init__(self, cells: dict[str, Any]) -> None:
        super().__init__()
        for direction, cell in cells.items():
            setattr(self, direction, cell)

    def construct(self, x: Any, state: Any = None) -> Any:
        """One frame through the forward cell."""
        return self.fwd(x, state)


CELLS: dict[str, type[Cell]] = {"gru": ConvGRUCell, "lstm": ConvLSTMCell, "rnn": ConvRNNCell}
