"""Drop-in for ndrplz/ConvLSTM_pytorch: outputs and states of the last or all layers, as lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from convgru.spec import Ints, network
from convgru_torch.compat.base import DropIn, check_sequence, convolution, per_layer, states

LAYOUT = "convlstm_pytorch"
State = tuple[Tensor, Tensor]


class ConvLSTMCell(DropIn):
    """The original's cell: a convolutional LSTM without peepholes (``convgru.equations.lstm``).

    Args:
        input_dim: number of channels C of the input.
        hidden_dim: number of channels H of the state.
        kernel_size: a pair, or one number; even sizes are supported.
        bias: if False, the convolution has no bias.
        corrected: accepted as in ``ConvLSTM``, without effect: the cell has no quirks.

    Parameters: ``conv.weight`` (4H, C+H, kh, kw), its rows in the order i, f, o, g, and
    ``conv.bias`` (4H); at first as nn.Conv2d's.

    Raises:
        ValueError, TypeError: if the arguments describe no cell.

    Source: github.com/ndrplz/ConvLSTM_pytorch; Shi et al. 2015, arXiv:1506.04214.

    Example:
        >>> cell = ConvLSTMCell(3, 8, (3, 3), True)
        >>> h, c = cell(torch.zeros(2, 3, 16, 16), cell.init_hidden(2, (16, 16)))
    """

    def __init__(
        self, input_dim: int, hidden_dim: int, kernel_size: Ints, bias: bool = True, *, corrected: bool = False
    ) -> None:
        super().__init__()
        spec = network("lstm", input_dim, hidden_dim, kernel_size, bias=bias)
        self._read_as(LAYOUT, spec, head="cell_list.0.")
        self.input_dim, self.hidden_dim, self.bias = input_dim, hidden_dim, bias
        self.kernel_size = spec.layers[0].kernel_size
        self.padding = tuple(k // 2 for k in self.kernel_size)
        self.conv = convolution(input_dim + hidden_dim, 4 * hidden_dim, self.kernel_size, bias)

    def forward(self, input_tensor: Tensor, cur_state: Sequence[Tensor] | None = None) -> State:
        """Take one frame (B, C, H, W) and (h, c), None for zeros; return the new (h, c).

        States are (B, hidden_dim, H, W).

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the
        parameters'.
        """
        given = None if cur_state is None else (tuple(cur_state),)
        state: State = self._run(input_tensor, given, layout="BCS")[1][0]
        return state

    def init_hidden(self, batch_size: int, image_size: Sequence[int]) -> State:
        """Return a state of zeros, on the device and in the dtype of the parameters."""
        height, width = image_size
        shape = (batch_size, self.hidden_dim, height, width)
        return self.conv.weight.new_zeros(shape), self.conv.weight.new_zeros(shape)


class ConvLSTM(DropIn):
    """The original's network: layers of ``ConvLSTMCell`` over a sequence.

    Args:
        input_dim: number of channels of the input.
        hidden_dim: number of channels of the states, or a list with one for each layer.
        kernel_size: a pair or a number, or a list with one for each layer; even sizes are
            supported.
        num_layers: number of layers.
        batch_first: if True, the input is (B, T, C, H, W) instead of (T, B, C, H, W).
        bias: if False, the convolutions have no bias.
        return_all_layers: if True, outputs and states of all layers are returned instead of the
            last layer's.
        corrected: keyword only; if True, the quirk listed here is corrected.

    Kept from the original unless ``corrected``: the outputs are (B, T, H, ...) even when the input
    is time first; ``corrected`` gives them the axes of the input. States stay lists [h, c]. No
    longer broken: see docs/compat/convlstm_pytorch.md.

    Parameters: ``cell_list.L.conv.weight`` and ``.bias``, layer by layer.

    Raises:
        ValueError, TypeError: if the arguments describe no network, or a list does not have
            ``num_layers`` entries.

    Source: github.com/ndrplz/ConvLSTM_pytorch; Shi et al. 2015, arXiv:1506.04214.

    Example:
        >>> options = dict(batch_first=True, return_all_layers=True)
        >>> model = ConvLSTM(3, [16, 8], [(3, 3), (5, 5)], 2, **options)
        >>> outputs, state = model(torch.zeros(2, 10, 3, 32, 32))
        >>> outputs, state = model(torch.zeros(2, 10, 3, 32, 32), state)  # continues
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int | list[int],
        kernel_size: Ints | list[Ints],
        num_layers: int,
        batch_first: bool = False,
        bias: bool = True,
        return_all_layers: bool = False,
        *,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        self.input_dim, self.num_layers = input_dim, num_layers
        self.hidden_dim = per_layer("ConvLSTM", "hidden_dim", hidden_dim, num_layers)
        self.kernel_size = per_layer("ConvLSTM", "kernel_size", kernel_size, num_layers)
        self.batch_first, self.bias, self.return_all_layers = batch_first, bias, return_all_layers
        self.corrected = corrected
        self._read_as(LAYOUT, network("lstm", input_dim, self.hidden_dim, self.kernel_size, num_layers, bias=bias))
        self.cell_list = nn.ModuleList(
            ConvLSTMCell(layer.in_channels, layer.hidden_channels, layer.kernel_size, bias)
            for layer in self.spec.layers
        )

    def forward(
        self, input_tensor: Tensor, hidden_state: Sequence[Sequence[Tensor] | None] | None = None
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Run over a sequence, (T, B, C, H, W), or (B, T, C, H, W) with ``batch_first``.

        ``hidden_state`` holds (h, c) for each layer, each (B, hidden_dim, H, W), None for zeros.
        Returns the list of outputs, each (B, T, hidden_dim, H, W), and the list of final states [h,
        c]: of the last layer, or of all.

        Raises ValueError for a shape, or a number of states, that does not fit, TypeError for a
        dtype that is not the parameters'.
        """
        layout = "BTCS" if self.batch_first else "TBCS"
        check_sequence("ConvLSTM", self.spec, input_tensor, layout)
        state = self._state(input_tensor, hidden_state)
        outputs, final = self._run(input_tensor, state, layout=layout, return_all_layers=True)
        if not self.batch_first and not self.corrected:
            outputs = [output.transpose(0, 1) for output in outputs]
        first = 0 if self.return_all_layers else -1
        # Contiguous as the original's: its users call view.
        return [output.contiguous() for output in outputs[first:]], [list(entry) for entry in final[first:]]

    def _state(self, x: Tensor, given: Any) -> tuple[Any, ...]:
        """Return the initial states of all layers, zeros for None."""
        entries = states("ConvLSTM", "hidden_state", given, self.num_layers)
        zeros = self._init_hidden(x.shape[0 if self.batch_first else 1], x.shape[-2:])
        filled = [zero if each is None else each for zero, each in zip(zeros, entries, strict=True)]
        return tuple(tuple(each) if isinstance(each, list) else each for each in filled)

    def _init_hidden(self, batch_size: int, image_size: Sequence[int]) -> list[State]:
        """Return a state of zeros for each layer; users of the original call it."""
        return [cell.init_hidden(batch_size, image_size) for cell in self.cell_list]  # type: ignore[operator]
