"""The implementations of one layer in one direction over a sequence, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convgru.errors import UnsupportedError
from convgru.spec import TITLES, CellSpec
from convgru_torch import fast, graphs, operator, readable, winograd, winograd_gru
from convgru_torch.execution import AUTOMATIC, Execution
from convgru_torch.readable import Parts, SequenceCall
from convgru_torch.sequence_plan import on_accelerator


class Implementation(NamedTuple):
    """One way to run a ``SequenceCall``.

    ``why_not`` returns the reason for which it does not apply to a call, or None; ``run`` returns
    the output and the final state. All return the same numbers, to rounding.
    """

    summary: str
    why_not: Callable[[SequenceCall], str | None]
    run: Callable[[SequenceCall], tuple[Tensor, Parts]]


IMPLEMENTATIONS: dict[str, Implementation] = {
    "fast": Implementation(
        "a hand-written sequence function and its gradient; gates in one pass on a CPU with oneDNN, and on CUDA with Triton",
        fast.why_not,
        fast.run,
    ),
    "readable": Implementation(
        "a loop over the equations, the input convolution of many frames at once, gradients by autograd",
        lambda call: None,
        readable.run,
    ),
}
"""By name, the best first. The last one applies to every call."""


SPECIAL: dict[str, Implementation] = {
    "winograd": Implementation(
        "with algorithm='winograd', a ConvGRU without gradients: both convolutions of a gate in one",
        winograd_gru.why_not,
        winograd_gru.run,
    ),
    "operator": Implementation(
        "under torch.compile: one operator, whose program serves every T", operator.why_not, operator.run
    ),
}
"""Before the others, but only for an algorithm that is asked for, and in compiled programs."""


class Choice(NamedTuple):
    """The implementation that runs a call, and why no better one did; ``""`` where none is."""

    name: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def _asks_for_winograd(call: SequenceCall) -> bool:
    """Whether Winograd's algorithm, which is for CPUs, would compute some convolution here."""
    if call.execution.algorithm != "winograd" or call.x.device.type != "cpu" or on_accelerator(call.x):
        return False
    return any(winograd.convolutions(call.cell).values())


def choose(call: SequenceCall) -> Choice:
    """Choose the implementation that runs a call.

    Raises UnsupportedError if it asks for one that does not apply.
    """
    wanted = call.execution.impl
    if call.execution.cuda_graphs and (reason := graphs.why_not(call.x) or fast.why_not(call)) is not None:
        raise UnsupportedError(f"{call.cell.title} expected a call that cuda_graphs=True can record, but {reason}")
    if torch.compiler.is_compiling() and wanted != "readable" and operator.why_not(call) is None:
        return Choice("operator")
    other = "its convolutions are the ordinary ones (algorithm='winograd')" if _asks_for_winograd(call) else None
    if wanted != "auto":
        reason = IMPLEMENTATIONS[wanted].why_not(call) if wanted in IMPLEMENTATIONS else "it is not there"
        reason = reason if wanted == "readable" else other or reason
        if reason is not None:
            raise UnsupportedError(
                f"{call.cell.title} expected a call to which impl={wanted!r} applies, but {reason}; "
                "impl='auto' takes another implementation for it"
            )
        return Choice(wanted)
    if other is not None and winograd_gru.why_not(call) is None:
        return Choice("winograd")
    reasons: list[str] = []
    for name, implementation in IMPLEMENTATIONS.items():
        reason = implementation.why_not(call) if name == "readable" else other or implementation.why_not(call)
        if reason is None:
            return Choice(name, "; ".join(reasons))
        reasons.append(reason)
    raise AssertionError("the readable implementation applies to every call")


def run_layer(
    cell: CellSpec,
    arrays: Mapping[str, Tensor],
    x: Tensor,
    state: Any,
    *,
    reverse: bool = False,
    zoneout: float = 0.0,
    valid: Tensor | None = None,
    context: Tensor | None = None,
    recurrent_mask: Tensor | None = None,
    zoneout_masks: Sequence[Tensor] | None = None,
    last_only: bool = False,
    execution: Execution = AUTOMATIC,
    ran: Callable[[Choice], object] | None = None,
) -> tuple[Tensor, Any]:
    """Run one layer in one direction over x (T, B, C, *S); parameters by short name.

    Arguments and results as in ``convgru_torch.layers.Layer.forward``; ``execution`` says how, and
    ``ran`` is told which implementation it is.

    Raises:
        ValueError: for a state of another shape.
        TypeError: if of input and parameters only one is on the meta device.
        UnsupportedError: for an implementation that was insisted on and does not apply.
    """
    _check_numbers(cell, arrays, x)
    parts: Parts = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    if execution.state_dtype is not None:
        parts = tuple(part.to(execution.state_dtype) for part in parts)
    call = SequenceCall(
        cell,
        arrays,
        x,
        parts,
        reverse,
        zoneout,
        valid,
        context,
        recurrent_mask,
        zoneout_masks,
        last_only,
        execution,
    )
    choice = choose(call)
    if ran is not None and not torch.compiler.is_compiling():  # a side effect that would split the graph
        ran(choice)
    y, final = (SPECIAL | IMPLEMENTATIONS)[choice.name].run(call)
    if execution.state_dtype is not None:
        y = y.to(arrays["weight_ih" if "weight_ih" in arrays else "updates.0.weight_ih"].dtype)
    return y, final[0] if len(final) == 1 else final


def _check_numbers(cell: CellSpec, arrays: Mapping[str, Tensor], x: Tensor) -> None:
    """Raise TypeError unless input and parameters hold numbers, or neither (the meta device).

    Not before a layer runs: until then wrappers may keep its parameters elsewhere.
    """
    weight = next(iter(arrays.values()))
    if (x.device.type == "meta") != (weight.device.type == "meta"):
        raise TypeError(
            f"{TITLES[cell.cell]} expected input and parameters to hold numbers, or both to be on the meta device, "
            f"got an input on {x.device} and parameters on {weight.device}"
        )


def _run_in_operator(call: SequenceCall) -> tuple[Tensor, Parts]:
    return (SPECIAL | IMPLEMENTATIONS)[choose(call).name].run(call)


operator.register(_run_in_operator)
