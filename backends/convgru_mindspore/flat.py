"""A module whose states go in and out as separate tensors: what mindspore.export and mindspore.grad need."""

from __future__ import annotations

from typing import Any

from mindspore import nn

from convgru.spec import ForecasterSpec


class Flat(nn.Cell):
    """A stack or a forecaster called with flat tensors: ``(x, h0, h1 ...)`` in, ``(y, h0, h1 ...)`` out.

    A tuple of tensors is a constant to MindSpore's graphs: ``mindspore.export`` freezes such a state without a word, and
    ``mindspore.grad`` takes its leaves twice. An LSTM's leaves are h0, c0, h1, c1 ...; no leaves at all mean zeros.

    Args:
        net: a ConvGRU, ConvLSTM, ConvRNN or Forecaster of convgru.mindspore.
        steps: how many frames to forecast, for a Forecaster alone.

    Example:
        >>> net = Flat(ConvGRU(3, 8))
        >>> x, h = ms.ops.ones((4, 1, 3, 16, 16), ms.float32), ms.ops.ones((1, 8, 16, 16), ms.float32)
        >>> ms.export(net, x, h, file_name="gru", file_format="MINDIR")
    """

    def __init__(self, net: Any, steps: int | None = None) -> None:
        super().__init__()
        self.net, self.steps = net, steps
        network = net.spec.encoder if isinstance(net.spec, ForecasterSpec) else net.spec
        self.pairs = network.cell == "lstm"

    def construct(self, x: Any, *leaves: Any) -> Any:
        """Output and the leaves of the final state."""
        given = self.nest(leaves)
        y, state = self.net(x, given) if self.steps is None else self.net(x, self.steps, given)
        flat = [y]
        for entry in state:
            if self.pairs:
                flat.append(entry[0])
                flat.append(entry[1])
            else:
                flat.append(entry)
        return tuple(flat)

    def nest(self, leaves: Any) -> Any:
        """The state of these leaves; None for none."""
        if len(leaves) == 0:
            return None
        if not self.pairs:
            return leaves
        state = []
        for index in range(0, len(leaves), 2):
            state.append((leaves[index], leaves[index + 1]))
        return tuple(state)
