"""Drop-in for the MindSpore ports of jacobkimmel/pytorch_convgru: one call computes one frame."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
import numpy as np
from mindspore import nn
from mindspore.common.initializer import Orthogonal, initializer

from convgru.importers import LAYOUTS, execute
from convgru.importers.match import Match
from convgru.importers.plan import plan
from convgru.spec import Ints, network
from convgru.spec.shapes import layer_prefix
from convgru_mindspore import arguments, graph_checks, ops
from convgru_mindspore.compat.canonical import canonical, moves
from convgru_mindspore.direction import run_direction
from convgru_mindspore.parameters import check_dtype
from convgru_mindspore.precision import MixedPrecisionCell

LAYOUT = "mindspore_convgru"
PREFIX = layer_prefix(0)
HEAD = "cell_0."
"""How the names of a network's first cell begin in the table of layouts: the cell here is described
as that.
"""


class ConvGRUCell(MixedPrecisionCell):
    """The original's cell: h' = (1−z)∘h + z∘n, the reset gate before the convolution.

    See ``convgru.equations.gru_before``.

    Args:
        input_size: channels C of the input.
        hidden_size: channels H of the state.
        kernel_size: of all three convolutions; even ones work too.
        has_bias: whether they add one; MindSpore's nn.Conv2d does not unless asked to.
        dtype: of parameters, input and state: mindspore.float32, float64 or float16.
        corrected: accepted as in the other drop-ins; nothing is wrong with this system's numbers.

    Parameters: ``reset_gate``, ``update_gate``, ``out_gate``, each with ``.weight`` (H, C+H, k, k),
    orthogonal at first, and with ``has_bias`` ``.bias`` (H), zero at first. The update gate has the
    original's sign: z is the share of the new value.

    Raises:
        ValueError, TypeError: for arguments that describe no cell, or a dtype that it cannot have.

    Source: github.com/jacobkimmel/pytorch_convgru; Ballas et al. 2015, arXiv:1511.06432.

    Example:
        >>> cell = ConvGRUCell(8, 16, 3)
        >>> h = cell(ms.ops.zeros((1, 8, 64, 64), ms.float32), None)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: Ints,
        has_bias: bool = False,
        *,
        dtype: Any = ms.float32,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        check_dtype(dtype)
        self.spec = network("gru", input_size, hidden_size, kernel_size, bias=has_bias)
        self.moves = moves(plan(Match.of(LAYOUTS[LAYOUT], self.spec)))
        self.input_size, self.hidden_size = input_size, hidden_size
        sizes = (input_size + hidden_size, hidden_size, self.spec.layers[0].kernel_size)
        self.reset_gate, self.update_gate, self.out_gate = (_convolution(*sizes, has_bias, dtype) for _ in range(3))

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, which x and state must have."""
        return self.reset_gate.weight.dtype

    @arguments.one_at_a_time
    def __call__(self, input_: Any, prev_state: Any = None) -> Any:
        """Check the call, then run ``construct``."""
        call = arguments.caller("ConvGRUCell", self.spec, "BCS", self.compute_dtype)
        state = None if prev_state is None else (prev_state,)
        shapes = arguments.check_network(call, self.dtype, input_, state, None, None, None)
        state = arguments.zeros(shapes, self.dtype) if state is None else state
        return super().__call__(input_, state[0], True)

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_: Any, prev_state: Any = None, checked: bool = False
    ) -> Any:
        """The new state (B, H, H, W) after the frame (B, C, H, W); ``prev_state`` None is zeros.

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the
        parameters'.
        """
        state: Any = None if prev_state is None else (prev_state,)
        dtype = self.reset_gate.weight.dtype
        if not checked:
            call = ("ConvGRUCell", self.spec, "BCS", self.compute_dtype, dtype)
            state = graph_checks.ready_network(call, input_, state, None, None, None)
        state, (frame,) = arguments.cast_all(state, dtype), arguments.cast_all((input_,), dtype)
        params = [ops.prepare(self.spec.layers[0], canonical(self.moves, self.foreign()), PREFIX, self.compute_dtype)]
        frame = mops.expand_dims(frame, 0)
        _, h, _ = run_direction(
            self.spec.layers[0], params, frame, state[0], None, None, (None, None), False, False, True, "auto"
        )
        return h

    def foreign(self) -> Any:
        """The parameters by the names that ``convgru.importers.LAYOUTS`` lists."""
        gates = (("reset_gate", self.reset_gate), ("update_gate", self.update_gate), ("out_gate", self.out_gate))
        parameters = {}
        for name, gate in gates:
            parameters[HEAD + name + ".weight"] = gate.weight
            if self.spec.layers[0].bias:
                parameters[HEAD + name + ".bias"] = gate.bias
        return parameters

    def exact_arrays(self) -> dict[str, np.ndarray]:
        """The parameters by canonical name, copied, for ``convgru.extract``."""
        arrays = {name: np.array(parameter.asnumpy(), copy=True) for name, parameter in self.foreign().items()}
        return execute.canonical(plan(Match.of(LAYOUTS[LAYOUT], self.spec)), arrays)


class ConvGRU(MixedPrecisionCell):
    """The original's network: a stack of ``ConvGRUCell``, each reading the new state below it.

    Args:
        input_size: channels of the input.
        hidden_sizes: channels of the states, a number, or a list with one for each layer.
        kernel_sizes: a number, or a list with one for each layer; even ones work too.
        n_layers: how many layers.
        has_bias, dtype, corrected: as in ``ConvGRUCell``.
        torch_names: call the layers ``ConvGRUCell_00`` …, as the PyTorch original does, for
            checkpoints with those names.

    Parameters: those of the cells ``cell_0``, ``cell_1`` …, in that order:
    ``mindspore.load_param_into_net`` reads such files, whatever stands before ``cell_0`` in all of
    their names. Kept from the original: a call takes one frame, and returns the states of all
    layers in a list. No longer broken: see docs/compat/mindspore_pytorch_convgru.md.

    Raises:
        ValueError, TypeError: for arguments that describe no network; a list that has not
            ``n_layers`` entries.

    Source: github.com/jacobkimmel/pytorch_convgru; Ballas et al. 2015, arXiv:1511.06432.

    Example:
        >>> model = ConvGRU(8, hidden_sizes=[32, 64, 16], kernel_sizes=[3, 5, 3], n_layers=3)
        >>> hidden = model(ms.ops.zeros((1, 8, 64, 64), ms.float32))
        >>> hidden = model(ms.ops.zeros((1, 8, 64, 64), ms.float32), hidden)  # the next frame
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: int | list[int],
        kernel_sizes: Ints | list[Ints],
        n_layers: int,
        has_bias: bool = False,
        *,
        torch_names: bool = False,
        dtype: Any = ms.float32,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        self.spec = network("gru", input_size, hidden_sizes, kernel_sizes, n_layers, bias=has_bias)
        self.input_size, self.n_layers = input_size, n_layers
        self.names = tuple(f"ConvGRUCell_{i:02d}" if torch_names else f"cell_{i}" for i in range(n_layers))
        for name, layer in zip(self.names, self.spec.layers, strict=True):
            sizes = (layer.in_channels, layer.hidden_channels, layer.kernel_size)
            setattr(self, name, ConvGRUCell(*sizes, has_bias, dtype=dtype))

    @property
    def dtype(self) -> Any:
        """The dtype of the parameters, which x and states must have."""
        return getattr(self, self.names[0]).dtype

    @arguments.one_at_a_time
    def __call__(self, x: Any, hidden: Any = None) -> Any:
        """Check the call, then run ``construct``."""
        call = arguments.caller("ConvGRU", self.spec, "BCS", self.compute_dtype)
        state = None if hidden is None or len(hidden) == 0 else tuple(hidden)
        shapes = arguments.check_network(call, self.dtype, x, state, None, None, None)
        state = arguments.zeros(shapes, self.dtype) if state is None else state
        return list(super().__call__(x, arguments.live(state), True))

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Any, hidden: Any = None, checked: bool = False
    ) -> Any:
        """The list of new states after the frame x (B, C, H, W); its last entry is the output.

        ``hidden`` is what the last call returned: a list with (B, H, H, W) for each layer; None or
        an empty list for zeros. Raises ValueError for a shape, or a number of states, that does not
        fit, TypeError for a dtype that is not the parameters'.
        """
        state: Any = None if hidden is None or len(hidden) == 0 else hidden
        if not checked:
            dtype = getattr(self, self.names[0]).reset_gate.weight.dtype
            call = ("ConvGRU", self.spec, "BCS", self.compute_dtype, dtype)
            state = graph_checks.ready_network(call, x, state, None, None, None)
        new = []
        for index, name in enumerate(self.names):
            x = getattr(self, name).construct(x, state[index], True)
            new.append(x)
        return new

    def exact_arrays(self) -> dict[str, np.ndarray]:
        """The parameters by canonical name, copied, for ``convgru.extract``."""
        arrays: dict[str, np.ndarray] = {}
        for index, name in enumerate(self.names):
            for short, array in getattr(self, name).exact_arrays().items():
                arrays[layer_prefix(index) + short.removeprefix(layer_prefix(0))] = array
        return arrays


def _convolution(inputs: int, outputs: int, kernel: Any, has_bias: bool, dtype: Any) -> Any:
    """An ``nn.Conv2d`` that only holds parameters, under the original's names; never called."""
    conv = nn.Conv2d(inputs, outputs, kernel, has_bias=has_bias, bias_init="zeros", dtype=dtype)
    conv.weight.set_data(initializer(Orthogonal(), conv.weight.shape, ms.float32).init_data().astype(dtype))
    return conv
