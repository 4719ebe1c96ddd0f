"""Networks called with flat tensors, for ``mindspore.export`` and ``mindspore.grad``."""

from __future__ import annotations

import inspect
from typing import Any

import mindspore as ms
from mindspore import nn
from mindspore.ops import constexpr

from convgru.spec import ForecasterSpec
from convgru_mindspore.parameters import is_pair
from convgru_mindspore.precision import MixedPrecisionCell


@constexpr(reuse_result=False)  # pyright: ignore[reportCallIssue]
def refuse_frozen(name: str, pairs: bool, bare: bool = False) -> bool:
    """Raise ValueError while ``mindspore.export`` compiles a network whose state came in a tuple.

    A tuple of tensors is a constant of MindSpore's graphs: the exported file would hold the
    example's state, context and masks for ever, and take none. Tuples that a network makes of flat
    tensors inside its own construct are live. ``pairs``: states are (h, c); ``bare``: it is a cell.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "export" and str(frame.f_globals.get("__name__")).startswith("mindspore."):
            inputs = frame.f_locals.get("inputs", ((),))  # where MindSpore calls them otherwise, refuse
            if any(isinstance(each, (tuple, list, dict)) for each in inputs):
                # MindSpore leaves its strict mode on if an export fails.
                level = frame.f_locals.get("old_ms_jit_value", ms.get_context("jit_syntax_level"))
                ms.set_context(jit_syntax_level=level)
                leaves = ("h, c" if pairs else "h") if bare else ("h0, c0, h1, c1, ..." if pairs else "h0, h1, ...")
                raise ValueError(
                    f"{name} cannot be exported with its state, context or masks in a tuple or dict, which MindSpore would "
                    f"freeze into the file: export convgru.mindspore.Flat({'cell' if bare else 'net'}), "
                    f"called with flat tensors (x, {leaves})"
                )
            return True
        frame = frame.f_back
    return False


@constexpr
def check_leaves(given: int, state: int, more: int) -> bool:
    """Raise ValueError unless ``given`` tensors are the whole state or none of it, and the rest."""
    if given not in (more, more + state):
        raise ValueError(
            f"Flat expected {state} tensors of the state or none, then {more} for what also names, got {given} beside x"
        )
    return True


class Flat(MixedPrecisionCell):
    """A network that is called with flat tensors: ``(x, h0, h1 ...)`` in, ``(y, h0, h1 ...)`` out.

    A tuple of tensors is a constant of MindSpore's graphs: ``mindspore.export`` would freeze a
    nested state into the file (the networks refuse that), and ``mindspore.grad`` counts its leaves
    twice.

    Args:
        net (Cell): A ConvGRU, ConvLSTM, ConvRNN, Forecaster or one of the bare cells.
        steps (int): How many frames to forecast, for a Forecaster alone. Default: ``None`` .
        also (tuple[str]): What follows the state, in this order: of ``context`` (as many tensors as
            the state has entries) and ``seq_length``, for a Forecaster of ``targets`` and
            ``forced``; a bare cell takes ``context``. Default: ``()`` .
        masks (dict): Masks of dropout and zoneout, which are constants of the graph. Default:
            ``None`` .
        resume (bool): Whether a Forecaster goes on from the state of an earlier call. Default:
            ``False`` .

    Inputs:
        - **x** (Tensor) - The input of `net`.
        - **leaves** (Tensor) - The tensors of the state one by one, an LSTM's as h0, c0, h1, c1
            ..., none at all for zeros; then what ``also`` names.

    Outputs:
        A tuple of the output and the tensors of the final state; of a bare cell those of the new
        state alone.

    Raises:
        TypeError: If `net` is no network of convgru.mindspore, a Forecaster has no ``steps``, or
            another network has them, or an argument that `net` does not take.
        ValueError: If ``also`` names anything else; in a call, if it is not given all tensors of
            the state, or none.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> net = Flat(ConvGRU(3, 8), also=("seq_length",))
        >>> x = ms.ops.ones((4, 1, 3, 16, 16), ms.float32)
        >>> h = ms.ops.ones((1, 8, 16, 16), ms.float32)
        >>> ms.export(net, x, h, ms.Tensor([4]), file_name="gru", file_format="MINDIR")
    """

    def __init__(
        self, net: Any, steps: int | None = None, *, also: tuple[str, ...] = (), masks: Any = None, resume: bool = False
    ) -> None:
        super().__init__(auto_prefix=False)  # or the parameters of the network would be called net. ...
        self._check(net, steps, masks, resume)
        self.set_train(net.training)  # said aloud, as in the networks, while there is nothing inside to hear it
        self.net, self.steps, self.also, self.masks = net, steps, tuple(also), masks
        self.resume, self.bare = resume, bool(net.layout == "BCS")
        network = net.spec.recurrent
        self.pairs = is_pair(net.spec)
        self.entries = len(network.layers) * len(network.directions)
        allowed: tuple[str, ...] = (
            ("targets", "forced") if isinstance(net.spec, ForecasterSpec) else ("context", "seq_length")
        )
        if self.bare:
            allowed = ("context",)
        for name in self.also:
            if name not in allowed:
                raise ValueError(f"Flat also expected names of {allowed}, got {name!r}")
        self.more = sum(self.entries if name == "context" else 1 for name in self.also)

    @staticmethod
    def _check(net: Any, steps: Any, masks: Any, resume: Any) -> None:
        """Raise TypeError for arguments that do not go with this network."""
        if not isinstance(net, nn.Cell) or not hasattr(net, "layout"):
            raise TypeError(f"Flat expected a network or a cell of convgru.mindspore, got {type(net).__name__}")
        name, forecasts = type(net).__name__, isinstance(net.spec, ForecasterSpec)
        if forecasts and steps is None:
            raise TypeError(f"Flat expected steps, how many frames to forecast, with a {name}, got None")
        if not forecasts and (steps is not None or resume):
            raise TypeError(f"Flat expected neither steps nor resume with a {name}: only a forecaster has a horizon")
        if masks is not None and (forecasts or net.layout == "BCS"):
            raise TypeError(f"Flat expected no masks with a {name}: only the networks take them")

    def construct(self, x: Any, *leaves: Any) -> Any:
        """The output and the tensors of the final state."""
        check_leaves(len(leaves), self.entries * 2 if self.pairs else self.entries, self.more)
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
        if self.bare:
            entry = self.net(x, None if given is None else given[0], None if context is None else context[0])
            return entry if self.pairs else (entry,)
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
        """The state of these tensors; None if there are none."""
        if len(leaves) == 0:
            return None
        if not self.pairs:
            return leaves
        state = []
        for index in range(0, len(leaves), 2):
            state.append((leaves[index], leaves[index + 1]))
        return tuple(state)
