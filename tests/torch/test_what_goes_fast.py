"""Which calls the fast implementation takes, and what it says of the others, as docs/torch.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.torch_paths import FAST_REFUSES, TABLE, Forced, refusal
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad

from convgru.errors import UnsupportedError
from convgru.parity import cases
from convgru.parity.module import Module
from convgru.spec import network
from convgru.spec.shapes import cell_parameter_shapes
from convgru_torch import fast, implementations, readable

DOCS = Path(__file__).resolve().parents[2] / "docs" / "torch.md"


def test_what_goes_fast(monkeypatch):
    """Of the whole table, the networks in FAST_REFUSES are refused, for its reason; no others."""

    class Seen(Exception):
        pass

    def seen(call):
        raise Seen

    monkeypatch.setattr(
        implementations, "IMPLEMENTATIONS",
        {name: each._replace(run=seen) for name, each in implementations.IMPLEMENTATIONS.items()},
    )  # fmt: skip
    for name, case in TABLE.items():
        reason = refusal(name)
        problem = cases.problem(case, "float32")
        forced = Module(Forced(impl="fast"), "fast")
        with pytest.raises(Seen if reason is None else UnsupportedError, match=reason and f"applies, but {reason}"):
            forced.execute(problem.weights, problem.x, problem.state, steps=case.steps, extras=problem.extras)


def test_the_docs_say_it():
    """The table of docs/torch.md has the reasons, and no others."""
    section = DOCS.read_text(encoding="utf-8").partition('`impl="fast"` says')[2].partition("\n\n")[0]
    said = {row.split("|")[2].strip() for row in section.splitlines()[2:]}
    assert said == {*FAST_REFUSES, *NOT_NETWORKS}


X = torch.zeros(3, 2, 2, 6, 5)
CELL = network("gru", 2, 3).layers[0]


def call_of(dtype=torch.float32, change=lambda tensor: tensor, x=X, cell=CELL):
    """A call of one layer, its input changed."""
    arrays = {name: torch.zeros(shape, dtype=dtype) for name, shape in cell_parameter_shapes(CELL).items()}
    return readable.SequenceCall(
        cell, arrays, change(x.to(dtype)), (torch.zeros(*x.shape[1:2], 3, *x.shape[3:], dtype=dtype),)
    )


def traced():
    found = []
    torch.jit.trace(lambda x: found.append(fast.why_not(call_of(x=x))) or x, (X,))
    return found[0]


def transformed():
    found = []
    torch.func.vmap(lambda x: found.append(fast.why_not(call_of(x=x))) or x)(X[None])
    return found[0]


def within(context, **options):
    with context:
        return fast.why_not(call_of(**options))


NOT_NETWORKS = {
    "it is traced (torch.compile, torch.export, torch.jit.trace)": traced,
    "a transform of torch.func is active": transformed,
    "forward-mode differentiation is active": lambda: within(forward_ad.dual_level()),
    "autocast is on": lambda: within(torch.autocast("cpu")),
    "a TorchDispatchMode is active": lambda: within(FakeTensorMode()),
    "not all tensors are of float32, or all of float64": lambda: fast.why_not(call_of(torch.bfloat16)),
    "not all tensors are plain ones": lambda: fast.why_not(call_of(change=lambda x: x.as_subclass(Own))),
    "not all tensors are on the CPU, or on one CUDA device": lambda: fast.why_not(
        call_of(change=lambda x: x.to("meta"))
    ),
    "the gates that padding sets have a derivative there": lambda: fast.why_not(
        call_of(cell=network("gru", 2, 3, recurrent_activation="tanh").layers[0])._replace(
            valid=torch.ones(3, 2, 1, 1, 1, dtype=torch.bool)
        )
    ),
    "not all tensors are dense": lambda: fast.why_not(call_of(change=torch.Tensor.to_sparse)),
    "the input is empty": lambda: fast.why_not(call_of(x=X[:, :0])),
}
"""What stands in the way of the fast implementation besides the network."""


class Own(torch.Tensor):
    """A subclass of tensors."""


@pytest.mark.parametrize("reason", NOT_NETWORKS)
def test_what_else_is_not_taken(reason):
    assert fast.why_not(call_of()) is None
    assert NOT_NETWORKS[reason]() == reason
