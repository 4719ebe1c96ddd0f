"""States: a module whose states go in and out as separate tensors, and a state cut from its past."""

from __future__ import annotations

from typing import Any

import mindspore.ops as mops
from mindspore import nn

from convgru.spec import ForecasterSpec


def detach(state: Any) -> Any:
    """The state without its past: no gradient passes (ops.stop_gradient). For truncated backpropagation through time.

    Takes what a network, a forecaster or a cell returns, a tensor or tuples of them, and None; in PyNative and in graph mode.

    Example:
        >>> net, state = ConvGRU(3, 8), None
        >>> for part in ms.ops.ones((100, 2, 3, 16, 16), ms.float32).split(10):
        ...     y, state = net(part, detach(state))
    """
    if not isinstance(state, (tuple, list)):
        return None if state is None else mops.stop_gradient(state)
    entries = []
    for entry in state:
        entries.append(_cut(entry))
    return tuple(entries)


def _cut(entry: Any) -> Any:
    """One entry: h, or (h, c)."""
    if not isinstance(entry, (tuple, list)):
        return mops.stop_gradient(entry)
    parts = []
    for part in entry:
        parts.append(mops.stop_gradient(part))
    return tuple(parts)


class Flat(nn.Cell):
    """A stack or a forecaster called with flat tensors: ``(x, h0, h1 ...)`` in, ``(y, h0, h1 ...)`` out.

    A tuple of tensors is a constant to MindSpore's graphs: ``mindspore.export`` freezes such a state without a word, and
    ``mindspore.grad`` takes its leaves twice. An LSTM's leaves are h0, c0, h1, c1 ...; no leaves at all mean zeros.

    Args:
        net: a ConvGRU, ConvLSTM, ConvRNN or Forecaster of convgru.mindspore.
        steps: how many frames to forecast, for a Forecaster alone.
        also: what follows the state, in this order: of ``context`` (as many tensors as the state has entries), ``seq_length``,
            ``targets`` and ``forced``.
        masks: a dict of masks of dropout and zoneout, constants of the graph.
        resume: whether a Forecaster goes on from the state of an earlier call.

    Example:
        >>> net = Flat(ConvGRU(3, 8), also=("seq_length",))
        >>> x, h = ms.ops.ones((4, 1, 3, 16, 16), ms.float32), ms.ops.ones((1, 8, 16, 16), ms.float32)
        >>> ms.export(net, x, h, ms.Tensor([4]), file_name="gru", file_format="MINDIR")
    """

    def __init__(
        self, net: Any, steps: int | None = None, *, also: tuple[str, ...] = (), masks: Any = None, resume: bool = False
    ) -> None:
        super().__init__()
        self.net, self.steps, self.also, self.masks = net, steps, tuple(also), masks
        self.resume = resume
        network = net.spec.recurrent
        self.pairs = network.cell == "lstm"
        self.entries = len(network.layers) * len(network.directions)
        allowed = ("targets", "forced") if isinstance(net.spec, ForecasterSpec) else ("context", "seq_length")
        for name in self.also:
            if name not in allowed:
                raise ValueError(f"Flat also expected names of {allowed}, got {name!r}")
        self.more = sum(self.entries if name == "context" else 1 for name in self.also)

    def construct(self, x: Any, *leaves: Any) -> Any:
        """Output and the leaves of the final state."""
        at = len(leaves) - self.more
        given = self.nest(leaves[:at])
        context, seq_length, targets, forced = None, None, None, None
        for name in self.also:
            if name == "context":
                context = leaves[at : at + self.entries]
                at = at + self.entries - 1
            elif name == "seq_length":
                seq_length = leaves[at]
            elif name == "targets":
                targets = leaves[at]
            else:
                forced = leaves[at]
            at = at + 1
        if self.steps is None:
            y, state = self.net(x, given, seq_length=seq_length, context=context, masks=self.masks)
        else:
            y, state = self.net(x, self.steps, given, targets=targets, forced=forced, resume=self.resume)
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
