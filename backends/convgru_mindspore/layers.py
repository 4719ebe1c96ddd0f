"""The cells that a stack is made of: one for each layer, containing one for each direction."""

from __future__ import annotations

from typing import Any

from mindspore import nn

from convgru.spec import CellSpec, NetworkSpec
from convgru.weights import Weights
from convgru_mindspore.direction import run_direction
from convgru_mindspore.parameters import LayerParameters, arrays_below


class Direction(LayerParameters):
    """One layer of a stack in one direction: its parameters, and its run over a sequence.

    Inputs:
        - **x** (Tensor) - The sequence (T, B, C, *S).
        - **state** (Union[Tensor, tuple]) - h, or (h, c).
        - **valid**, **context**, **masks** - As ``convgru_mindspore.loop`` prepares them for each
            step.
        - **reverse** (bool) - Whether time runs backward.
        - **keep**, **pick** (bool) - Whether to return the outputs of all frames, of each sample's
            last frame.
        - **impl** (str) - How the loop over time runs in a graph: ``auto`` , ``fast`` or
            ``readable`` .

    Outputs:
        The outputs (T, B, H, *S) or None, the final state, and the last outputs (B, H, *S) or None.
    """

    def __init__(self, cell: CellSpec, weights: Weights, prefix: str) -> None:
        super().__init__()
        self.spec = NetworkSpec((cell,))
        self.set_layer(cell, arrays_below(weights, prefix))

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Any,
        state: Any,
        valid: Any,
        context: Any,
        masks: Any,
        reverse: bool,
        keep: bool,
        pick: bool,
        impl: str,
    ) -> Any:
        """Run the layer over the sequence."""
        return run_direction(
            self.cell_spec, self.prepared(), x, state, valid, context, masks, reverse, keep, pick, impl, self.training
        )


class Layer(nn.Cell):
    """One layer of a stack: ``fwd``, and ``bwd`` if the stack is bidirectional."""

    def __init__(self, directions: dict[str, Direction]) -> None:
        super().__init__()
        for name, direction in directions.items():
            setattr(self, name, direction)
