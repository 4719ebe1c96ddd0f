"""Drop-in for jacobkimmel/pytorch_convgru: one call takes one frame through all layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from convgru.spec import Ints, network
from convgru_torch.compat.base import DropIn, convolution, per_layer, states

LAYOUT = "pytorch_convgru"


class ConvGRUCell(DropIn):
    """The original's cell: h' = (1−z)∘h + z∘n, the reset gate before the convolution.

    Equation: ``convgru.equations.gru_before``.

    Args:
        input_size: number of channels C of the input.
        hidden_size: number of channels H of the state.
        kernel_size: kernel size of all three convolutions; even sizes are supported.
        corrected: accepted as in the other drop-ins, without effect: this system has no quirks.

    Parameters: ``reset_gate``, ``update_gate``, ``out_gate``, each with ``.weight`` (H, C+H, k, k),
    orthogonal at first, and ``.bias`` (H), zero at first. The update gate has the original's sign:
    z is how much of the new value is taken.

    Raises:
        ValueError, TypeError: if the arguments describe no cell.

    Source: github.com/jacobkimmel/pytorch_convgru; Ballas et al. 2015, arXiv:1511.06432.

    Example:
        >>> cell = ConvGRUCell(8, 16, 3)
        >>> h = cell(torch.zeros(1, 8, 64, 64), None)
    """

    def __init__(self, input_size: int, hidden_size: int, kernel_size: Ints, *, corrected: bool = False) -> None:
        super().__init__()
        spec = network("gru", input_size, hidden_size, kernel_size)
        self._read_as(LAYOUT, spec, head="ConvGRUCell_00.")
        self.input_size, self.hidden_size = input_size, hidden_size
        convs = [convolution(input_size + hidden_size, hidden_size, spec.layers[0].kernel_size) for _ in range(3)]
        self.reset_gate, self.update_gate, self.out_gate = convs
        for conv in convs:
            nn.init.orthogonal_(conv.weight)
            nn.init.constant_(conv.bias, 0.0)  # type: ignore[arg-type] # there is one

    def forward(self, input_: Tensor, prev_state: Tensor | None = None) -> Tensor:
        """Take one frame (B, C, H, W) and the state, None for zeros; return the new state.

        States are (B, hidden_size, H, W).

        Raises ValueError for a shape that does not fit, TypeError for a dtype that is not the
        parameters'.
        """
        h: Tensor = self._run(input_, None if prev_state is None else (prev_state,), layout="BCS")[0]
        return h


class ConvGRU(DropIn):
    """The original's network: ``ConvGRUCell`` layers, each reading the new state below.

    Args:
        input_size: number of channels of the input.
        hidden_sizes: number of channels of the states, or a list with one for each layer.
        kernel_sizes: a number, or a list with one for each layer; even sizes are supported.
        n_layers: number of layers.
        corrected: accepted as in the other drop-ins, without effect: this system has no quirks.

    Parameters: those of the cells ``ConvGRUCell_00``, ``ConvGRUCell_01`` …, in that order. Kept
    from the original: a call takes one frame, and returns the states of all layers in a list. No
    longer broken: see docs/compat/pytorch_convgru.md.

    Raises:
        ValueError, TypeError: if the arguments describe no network, or a list does not have
            ``n_layers`` entries.

    Source: github.com/jacobkimmel/pytorch_convgru; Ballas et al. 2015, arXiv:1511.06432.

    Example:
        >>> model = ConvGRU(8, hidden_sizes=[32, 64, 16], kernel_sizes=[3, 5, 3], n_layers=3)
        >>> hidden = model(torch.zeros(1, 8, 64, 64))
        >>> hidden = model(torch.zeros(1, 8, 64, 64), hidden)  # the next frame
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: int | list[int],
        kernel_sizes: Ints | list[Ints],
        n_layers: int,
        *,
        corrected: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.n_layers = input_size, n_layers
        self.hidden_sizes = per_layer("ConvGRU", "hidden_sizes", hidden_sizes, n_layers)
        self.kernel_sizes = per_layer("ConvGRU", "kernel_sizes", kernel_sizes, n_layers)
        self._read_as(LAYOUT, network("gru", input_size, self.hidden_sizes, self.kernel_sizes, n_layers))
        sizes = zip(self.spec.layers, self.kernel_sizes, strict=True)
        for index, (layer, kernel) in enumerate(sizes):
            cell = ConvGRUCell(layer.in_channels, layer.hidden_channels, kernel)
            self.add_module(f"ConvGRUCell_{index:02d}", cell)

    @property
    def cells(self) -> list[Any]:
        """Return the cells, layer by layer."""
        return [getattr(self, f"ConvGRUCell_{index:02d}") for index in range(self.n_layers)]

    def forward(self, x: Tensor, hidden: Sequence[Tensor | None] | None = None) -> list[Tensor]:
        """Take one frame (B, C, H, W).

        ``hidden`` is what the last call returned: a list with (B, H, H, W) for each layer, None for
        zeros there; None or an empty list for zeros everywhere. Returns the list of new states; its
        last entry is the network's output.

        Raises ValueError for a shape, or a number of states, that does not fit, TypeError for a
        dtype that is not the parameters'.
        """
        new: list[Tensor] = []
        for cell, h in zip(self.cells, states("ConvGRU", "hidden", hidden, self.n_layers), strict=True):
            x = cell(x, h)
            new.append(x)
        return new
