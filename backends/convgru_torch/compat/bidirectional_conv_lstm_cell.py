"""The cell of the drop-in for seyongk/Bidirectional-Conv-LSTM-pytorch, and its base classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convgru import equations
from convgru.importers import LAYOUTS
from convgru.importers.execute import canonical
from convgru.importers.match import Match
from convgru.importers.plan import Plan, plan
from convgru.spec import Ints, NetworkSpec, Norm, network
from convgru.spec.shapes import layer_prefix
from convgru_torch import ops
from convgru_torch.arguments import CheckedCall, parameters_precision
from convgru_torch.compat.base import DropIn, check_sequence
from convgru_torch.compat.canonical import TORCH
from convgru_torch.export import check_time_is_fixed

LAYOUT = LAYOUTS["bidirectional_conv_lstm"]
State = tuple[Tensor, Tensor]


class ConvGate(nn.Module):
    """Holds the original's ``conv_x``, ``conv_h`` and ``bn2d``, the batch norm of their sum."""

    def __init__(self, in_channels: int, hidden_channels: int, kernel_size: Ints, padding: Any, bias: bool) -> None:
        super().__init__()
        rows = 4 * hidden_channels
        self.conv_x = nn.Conv2d(in_channels, rows, kernel_size, padding=padding, bias=bias)  # type: ignore[arg-type]
        self.conv_h = nn.Conv2d(hidden_channels, rows, kernel_size, padding=padding, bias=bias)  # type: ignore[arg-type]
        self.bn2d = nn.BatchNorm2d(rows)


class BatchNormed:
    """``convgru_torch.ops`` whose ``norm`` is a batch norm with running statistics.

    They are updated in training.
    """

    conv, add_channel, peep = staticmethod(ops.conv), staticmethod(ops.add_channel), staticmethod(ops.peep)
    split, split_rz_n, concat = staticmethod(ops.split), staticmethod(ops.split_rz_n), staticmethod(ops.concat)
    activation, unpatch = staticmethod(ops.activation), staticmethod(ops.unpatch)

    def __init__(self, batch_norm: nn.Module) -> None:
        self.batch_norm = batch_norm

    def norm(self, a: Tensor, p: ops.Params, part: str) -> Tensor:
        """Batch norm over batch and space, then weight and bias by channel."""
        normed: Tensor = self.batch_norm(a)
        return normed


class Gated(DropIn):
    """Base of network and cell: folds the batch norm into the convolutions in evaluation.

    In training the batch norm runs in each step.
    """

    _plain: Plan
    """The convolutions alone, without their batch norm."""
    _plain_spec: NetworkSpec

    def _describe(self, spec: NetworkSpec, bias: bool, head: str = "") -> None:
        """Declare the two layout tables, with the batch norm folded in and without it."""
        pieces = [piece for piece in LAYOUT.pieces if bias or not piece.optional]
        self.spec, self._head, self._plan = spec, head, plan(Match(LAYOUT, "", spec, tuple(pieces)))
        convolutions = tuple(replace(piece, norm="") for piece in pieces if "bn2d" not in piece.key)
        self._plain_spec = replace(spec, layers=(replace(spec.layers[0], bias=bias),))
        self._plain = plan(Match(LAYOUT, "", self._plain_spec, convolutions))

    def _gates(self) -> list[ConvGate]:
        """Return the gates of each direction."""
        return [module for module in self.modules() if isinstance(module, ConvGate)]

    def _outputs(self, x: Tensor, state: Any, layout: str) -> tuple[Tensor, tuple[State, ...]]:
        """Return both directions' outputs, concatenated, and the final (h, c) of each direction.

        output[t] belongs to frame t.
        """
        if any(gate.bn2d.training for gate in self._gates()):
            return self._trained(x, state, layout)
        result: tuple[Tensor, tuple[State, ...]] = self._run(x, state, layout=layout)
        return result

    def _trained(self, x: Tensor, state: Any, layout: str) -> tuple[Tensor, tuple[State, ...]]:
        """Run the same equations, normalising each step by the statistics of its batch."""
        arrays = canonical(self._plain, self._foreign(called=True), TORCH)
        owner = type(self).__name__
        check_sequence(owner, self._plain_spec, x, layout)
        precision = parameters_precision(owner, self._plain_spec, arrays)
        call = CheckedCall(owner, self._plain_spec, precision, x, layout)
        check_time_is_fixed(owner, call.x)
        begin, cell = call.state(state), self._plain_spec.layers[0]
        normed = replace(cell, norm=Norm((1,)))  # the equations ask for the norm of all four gates together
        directions: list[Tensor] = []
        final: list[State] = []
        for direction, gate, (h, c) in zip(self.spec.directions, self._gates(), begin, strict=True):
            p = ops.prepare(cell, arrays, layer_prefix(0, direction), call.sizes.size, call.sizes.size)
            frames = equations.input_gates(ops, cell, p, call.x.flatten(0, 1)).unflatten(0, call.x.shape[:2])
            normed_ops, outputs = BatchNormed(gate.bn2d), []
            for gates_x in frames.flip(0) if direction == "bwd" else frames:
                new = equations.lstm(normed_ops, normed, p, gates_x, (h, c), None, None)
                h, c = (part.to(call.dtype) for part in new)  # under autocast too
                outputs.append(h)
            directions.append(torch.stack(outputs[::-1] if direction == "bwd" else outputs))
            final.append((h, c))
        return call.output(torch.cat(directions, 2)), tuple(final)


class ConvLSTMCell(Gated):
    """The original's cell: an LSTM whose four gates are batch-normalised together.

    Equation: ``convgru.equations.lstm``.

    a = norm(W*x + b_x + U*h + b_h) is cut into i, f, g, o, in this order.

    Args:
        in_channels: number of channels C of the input.
        hidden_channels: number of channels H of the state.
        kernel_size: a number or a pair; even sizes are supported with padding ``same``.
        padding: kernel_size // 2 or ``same``, which keep the size of the state.
        stride: 1, which keeps the size of the state.
        bias: if False, the convolutions have no bias b_x, b_h.
        corrected: accepted as in ``ConvLSTM``, without effect: the cell has no quirks.

    Parameters: ``gates.0.conv_x.weight`` (4H, C, kh, kw), ``gates.0.conv_h.weight`` (4H, H, kh,
    kw), their ``.bias`` (4H), and those of ``gates.0.bn2d``, an nn.BatchNorm2d(4H).

    Raises:
        ValueError, TypeError: if the arguments describe no cell.

    Source: github.com/seyongk/Bidirectional-Conv-LSTM-pytorch; Ioffe and Szegedy 2015,
    arXiv:1502.03167.

    Example:
        >>> cell = ConvLSTMCell(1, 64, 3, padding=1, stride=1, bias=True)
        >>> h, c = cell(torch.zeros(2, 1, 16, 16))
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: Ints,
        padding: Ints | str,
        stride: Ints,
        bias: bool,
        *,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        spec = network("lstm", in_channels, hidden_channels, kernel_size)
        check_geometry(type(self).__name__, spec, padding, stride)
        self._describe(spec, bias, head="conv_lstm_cells.0.")
        self.gates = nn.ModuleList([ConvGate(in_channels, hidden_channels, kernel_size, padding, bias)])

    def forward(self, x: Tensor, hidden_state: Tensor | None = None, cell_state: Tensor | None = None) -> State:
        """Take one frame (B, C, H, W), h and c; return the new (h, c). None is zeros.

        States are (B, hidden_channels, H, W), or (1, ...) for all samples.

        Returns the new (h, c). Raises ValueError for a shape that does not fit, TypeError for a
        dtype that is not the parameters', or for h without c.
        """
        if (hidden_state is None) != (cell_state is None):
            raise TypeError("ConvLSTMCell expected hidden_state and cell_state together")
        given = None
        if hidden_state is not None and cell_state is not None:
            given = ((for_all(hidden_state, x), for_all(cell_state, x)),)
        return self._outputs(x, given, "BCS")[1][0]


def for_all(part: Tensor, x: Tensor) -> Tensor:
    """Expand a state of one sample to the whole batch."""
    return part.expand(x.shape[0], -1, -1, -1) if part.ndim == 4 and part.shape[0] == 1 else part


def check_geometry(owner: str, spec: NetworkSpec, padding: Any, stride: Any) -> None:
    """Raise ValueError if the state would change its size, where the original fails too."""
    kernel = spec.layers[0].kernel_size
    zeros = 0 if padding == "valid" else padding
    strides, pads = ((each,) * 2 if isinstance(each, int) else each for each in (stride, zeros))
    if tuple(strides) != (1, 1):
        raise ValueError(f"{owner} stride expected 1, with which the state keeps its size, got {stride!r}")
    if pads != "same" and tuple(2 * p + 1 for p in pads) != kernel:
        raise ValueError(
            f"{owner} padding expected what keeps the size of the state with kernel {kernel}: "
            f"half of an odd kernel, rounded down, or 'same', got {padding!r}"
        )
