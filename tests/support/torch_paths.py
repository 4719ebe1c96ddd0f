"""The case table for torch's ways to compute: which cases go fast, and how to force a way."""

from __future__ import annotations

import numpy as np
import torch

from convgru.parity import table as case_table
from convgru.spec import ForecasterSpec
from convgru.torch import forecast, run

TABLE = {case.name: case for case in case_table.table()}
FAST_REFUSES = {
    "the layer has a norm": "norm group-norm norm-peephole norm-3d lengths-norm context-norm",
    "the layer has updates": "updates updates-context",
    "its peepholes are convolutions": "peephole-conv peephole-3d peephole-groups",
    "its convolutions have groups": "groups groups-dilated groups-strided groups-1d groups-3d depthwise",
    "its padding_mode is": "reflect replicate circular circular-1d reflect-3d",
    "its stride is not 1": "strided strided-even strided-valid strided-1d strided-3d strided-dilated preserve",
    "its recurrent_stride is not 1": "strided-state",
    "it has zoneout": "train lengths-train zoneout-eval",
    "it has recurrent dropout": "",  # in the table beside zoneout
    "it is given a context": "context context-timed",
}
"""The reason to the options of the table that it stands for; all others go fast, in every cell."""


def option_of(name):
    """What a case's name says besides the cell."""
    lead = "forecaster-" if name.startswith("forecaster-") else ""
    rest = name.removeprefix(lead)
    cells = sorted((*case_table.CELLS, "gru", "lstm", "rnn"), key=len, reverse=True)
    return lead + rest.removeprefix(next(cell for cell in cells if f"{rest}-".startswith(f"{cell}-"))).lstrip("-")


def refusal(name):
    """The reason of ``FAST_REFUSES`` for a case, or None."""
    return next((reason for reason, options in FAST_REFUSES.items() if option_of(name) in options.split()), None)


def tensors(value):
    if isinstance(value, dict):
        return {name: tensors(each) for name, each in value.items()}
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


class Forced:
    """The table's networks as pure functions with execution options; ``wrap`` compiles them."""

    tensors = "torch"

    def __init__(self, wrap=lambda function: function, **options):
        self.wrap, self.options = wrap, options

    def run(self, spec, arrays, x, state, **call):
        call = {name: tensors(value) for name, value in call.items()} | self.options
        if isinstance(spec, ForecasterSpec):
            return forecast(spec, arrays, x, call.pop("steps"), state, **call)
        return self.wrap(lambda arrays, x, state: run(spec, arrays, x, state, **call))(arrays, x, state)
