"""The cases: each option on the cells it matters to, and pairs of options that interact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convgru.parity.cases import Case
from convgru.spec import forecaster, network

CELLS: dict[str, dict[str, Any]] = {
    "gru-before": {"cell": "gru", "reset": "before"},
    "gru-after": {"cell": "gru", "reset": "after"},
    "lstm": {"cell": "lstm"},
    "rnn-tanh": {"cell": "rnn"},
    "rnn-relu": {"cell": "rnn", "activation": "relu"},
}
SIZES = {1: (7,), 2: (5, 4), 3: (3, 4, 3)}

# What is tried on every cell but the ReLU one: network arguments, and arguments of the case.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "even-kernel": ({"kernel_size": (2, 4)}, {}),
    "oblong-kernel": ({"kernel_size": (1, 5), "recurrent_kernel_size": (3, 2)}, {}),
    "pointwise": ({"kernel_size": 1}, {"size": (1, 1)}),
    "dilated": ({"kernel_size": (3, 2), "dilation": (2, 3)}, {"size": (6, 7)}),
    "recurrent-dilated": ({"recurrent_kernel_size": 5, "recurrent_dilation": (1, 2)}, {}),
    "valid": ({"padding": "valid", "kernel_size": (2, 3)}, {}),
    "padded": ({"padding": ((0, 2), 1)}, {}),
    "no-bias": ({"bias": False}, {}),
    "no-state": ({}, {"state": False}),
    "one-frame": ({}, {"time": 1, "batch": 1}),
    "layers": ({"hidden_channels": [4, 2, 3], "kernel_size": [3, (1, 2), 5]}, {}),
    "valid-layers": ({"hidden_channels": [3, 2], "padding": "valid", "kernel_size": [3, 2]}, {"size": (6, 5)}),
    "long": ({"in_channels": 1, "hidden_channels": 2}, {"time": 12, "batch": 1, "size": (3, 3)}),
}

# Wide and trained-like networks: what fixed tolerances get wrong.
WIDE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wide": ({"in_channels": 8, "hidden_channels": 32, "kernel_size": 5}, {"size": (6, 6)}),
    "wide-twice": ({"in_channels": 8, "hidden_channels": 32, "kernel_size": 3}, {"size": (6, 6), "scale": 2.0}),
}

# What a whole network can do, and the pairs that interact; on the cells named.
GRU, ALL = ("gru-before", "gru-after"), ("gru-before", "gru-after", "lstm", "rnn-tanh")
LENGTHS = {"time": 4, "batch": 3, "lengths": (2, 4, 0)}
WHOLE: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]] = {
    "bidirectional": (ALL, {"hidden_channels": [3, 2], "bidirectional": True}, {}),
    "bidirectional-sum": (
        ("gru-after", "lstm"),
        {"hidden_channels": [2, 2], "bidirectional": True, "merge": "sum"},
        {},
    ),
    "bidirectional-mean": (("gru-before",), {"bidirectional": True, "merge": "mean", "ndim": 1}, {}),
    "bidirectional-mul": (("rnn-tanh",), {"bidirectional": True, "merge": "mul"}, {"state": False}),
    "stack": (("gru-before", "lstm"), {"hidden_channels": [3, 2], "bidirectional": "stack"}, {}),
    "stack-mul": (("gru-after",), {"hidden_channels": [3, 2], "bidirectional": "stack", "merge": "mul"}, {}),
    "bidirectional-one-frame": (("lstm",), {"bidirectional": True}, {"time": 1, "batch": 1}),
    "lengths": (ALL, {}, LENGTHS),
    "lengths-bidirectional": (ALL, {"hidden_channels": [3, 2], "bidirectional": True}, LENGTHS),
    "lengths-stack": (("gru-before",), {"hidden_channels": [2, 3], "bidirectional": "stack", "merge": "sum"}, LENGTHS),
    "lengths-norm": (("gru-after",), {"norm": 1}, LENGTHS),
    "lengths-train": (
        ("lstm",),
        {"hidden_channels": [2, 2], "zoneout": 0.3, "dropout": 0.3},
        {**LENGTHS, "train": True},
    ),
    "strided": (ALL, {"stride": 2}, {"size": (6, 5)}),
    "strided-even": (("gru-before", "lstm"), {"stride": (2, 3), "kernel_size": (2, 4)}, {"size": (5, 7)}),
    "strided-valid": (("gru-after",), {"stride": 2, "padding": "valid"}, {"size": (7, 6)}),
    "strided-1d": (("rnn-tanh",), {"stride": 3, "ndim": 1, "kernel_size": 4}, {}),
    "strided-3d": (("gru-before",), {"stride": (1, 2, 2), "ndim": 3}, {"size": (2, 4, 3)}),
    "strided-dilated": (("lstm",), {"stride": 2, "dilation": 2, "recurrent_dilation": 1}, {"size": (7, 6)}),
    "strided-state": (("gru-after",), {"recurrent_stride": 2, "recurrent_kernel_size": 3}, {}),
    "preserve": (("lstm",), {"stride": 2, "recurrent_stride": 2, "dilation": 2, "padding": "preserve"}, {}),
    "groups": (ALL, {"in_channels": 4, "hidden_channels": 4, "groups": 2}, {}),
    "groups-dilated": (("gru-after",), {"in_channels": 2, "hidden_channels": 4, "groups": 2, "dilation": 2}, {}),
    "groups-strided": (("lstm",), {"in_channels": 4, "hidden_channels": 2, "groups": 2, "stride": 2}, {}),
    "groups-1d": (("gru-before",), {"in_channels": 2, "hidden_channels": 4, "groups": 2, "ndim": 1}, {}),
    "groups-3d": (
        ("gru-before",),
        {"in_channels": 2, "hidden_channels": 2, "groups": 2, "ndim": 3},
        {"size": (2, 3, 3)},
    ),
    "depthwise": (("gru-before",), {"in_channels": 3, "hidden_channels": 3, "groups": 3}, {}),
    "reflect": (ALL[:3], {"padding_mode": "reflect"}, {}),
    "replicate": (("gru-before", "lstm"), {"padding_mode": "replicate", "kernel_size": (2, 3)}, {}),
    "circular": (("gru-after", "rnn-tanh"), {"padding_mode": "circular"}, {}),
    "circular-1d": (("lstm",), {"padding_mode": "circular", "ndim": 1, "stride": 2, "kernel_size": 4}, {}),
    "reflect-3d": (("gru-before",), {"padding_mode": "reflect", "ndim": 3}, {"size": (2, 3, 3)}),
    "output-size": (("gru-before", "lstm"), {"output_size": (3, 2)}, {"size": (7, 5)}),
    "peephole-channel": (("lstm",), {"peephole": "hadamard"}, {}),
    "peephole-image": (("lstm",), {"peephole": "hadamard", "state_size": (5, 4)}, {}),
    "peephole-conv": (("lstm",), {"peephole": "conv"}, {}),
    "peephole-3d": (("lstm",), {"peephole": "conv", "ndim": 3, "kernel_size": 2}, {"size": (2, 3, 3)}),
    "peephole-groups": (("lstm",), {"peephole": "conv", "groups": 2, "in_channels": 2, "hidden_channels": 4}, {}),
    "peephole-bidirectional": (("lstm",), {"peephole": "hadamard", "bidirectional": True}, LENGTHS),
    "norm": (ALL, {"norm": 1, "hidden_channels": 2}, {}),
    "group-norm": (("gru-before",), {"norm": (4, 2), "hidden_channels": 4}, {}),
    "norm-peephole": (("lstm",), {"norm": 4, "peephole": "hadamard"}, {}),
    "norm-3d": (("gru-after",), {"norm": 1, "ndim": 3, "kernel_size": 2}, {"size": (2, 3, 2)}),
    "context": (ALL, {}, {"context": "fixed"}),
    "context-timed": (("gru-after", "lstm"), {"hidden_channels": [2, 3], "bidirectional": True}, {"context": "timed"}),
    "context-norm": (("gru-before",), {"norm": 1}, {"context": "fixed"}),
    "updates": (GRU, {"updates": ((1, 5), (5, 1))}, {}),
    "updates-context": (("lstm",), {"updates": ((1, 3), (3, 1))}, {"context": "fixed"}),
    "leaky": (("gru-before",), {"activation": "leaky_relu"}, {}),
    "hard": (("lstm", "gru-after"), {"recurrent_activation": "hard_sigmoid"}, {}),
    "hard-0.2": (("lstm",), {"recurrent_activation": "hard_sigmoid_0.2", "activation": "sigmoid"}, {}),
    "train": (
        ALL,
        {"hidden_channels": [3, 2], "dropout": 0.4, "recurrent_dropout": 0.3, "zoneout": 0.2},
        {"train": True},
    ),
    "train-stack": (
        ("gru-before",),
        {"hidden_channels": [2, 2], "dropout": 0.4, "bidirectional": "stack"},
        {"train": True},
    ),
    "zoneout-eval": (("lstm", "gru-before"), {"zoneout": 0.2, "dropout": 0.3, "recurrent_dropout": 0.3}, {}),
}

RESUME: dict[str, Any] = {"time": 1, "resume": True}
FORECASTERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "patch": ({"patch": 2}, {"size": (6, 4), "steps": 3}),
    "oblong-patch": ({"patch": (1, 2), "hidden_channels": [3, 2]}, {"size": (3, 6), "steps": 2}),
    "direct": ({"patch": 1, "residual": False}, {"size": (4, 3), "steps": 3}),
    "one-step": ({"patch": 2}, {"size": (4, 4), "steps": 1, "state": False}),
    "1d": ({"patch": 3, "ndim": 1}, {"size": (9,), "steps": 2}),
    "3d": ({"patch": (1, 2, 1), "ndim": 3, "kernel_size": 2}, {"size": (2, 4, 3), "steps": 2, "time": 2}),
    "decoder": ({"patch": 2, "decoder": True, "hidden_channels": [3, 2]}, {"size": (4, 6), "steps": 3}),
    "blind": ({"patch": 2, "decoder": True, "feedback": False}, {"size": (4, 4), "steps": 2}),
    "blind-encoder": ({"patch": 2, "feedback": False}, {"size": (4, 4), "steps": 3}),
    "forced": ({"patch": 2, "decoder": True}, {"size": (4, 4), "steps": 4, "forced": True}),
    "resume": ({"patch": 2, "hidden_channels": [3, 2]}, {"size": (4, 6), "steps": 3, **RESUME}),
    "resume-decoder": ({"patch": 2, "decoder": True}, {"size": (4, 4), "steps": 3, "forced": True, **RESUME}),
    "resume-blind": ({"decoder": True, "feedback": False}, {"size": (4, 3), "steps": 2, **RESUME}),
    "resume-blind-direct": ({"patch": 2, "feedback": False, "residual": False}, {"size": (4, 4), "steps": 2, **RESUME}),
}


def table() -> list[Case]:
    """All cases."""
    return list(_table())


def _table() -> Iterator[Case]:
    for cell, fixed in CELLS.items():
        for ndim, size in SIZES.items():
            yield _network(f"{cell}-{ndim}d", {**fixed, "ndim": ndim}, {"size": size})
        if cell != "rnn-relu":
            for option, (arguments, call) in OPTIONS.items():
                yield _network(f"{cell}-{option}", {**fixed, **arguments}, call)
        for option, (arguments, call) in WIDE.items():
            yield _network(f"{cell}-{option}", {**fixed, **arguments}, call)
    for option, (cells, arguments, call) in WHOLE.items():
        for cell in cells:
            yield _network(f"{cell}-{option}", {**CELLS[cell], **arguments}, call)
    yield _network("gru-relu", {**CELLS["gru-before"], "activation": "relu"}, {})
    yield _network("lstm-relu", {**CELLS["lstm"], "activation": "relu"}, {})
    for option, (arguments, call) in FORECASTERS.items():
        for cell in ("gru-before", "lstm"):
            settings = {"channels": 1, "hidden_channels": 3, **CELLS[cell], **arguments}
            yield Case(f"forecaster-{cell}-{option}", forecaster(**settings), **call)
    settings = {"channels": 2, "hidden_channels": [3, 2], "patch": 2}
    yield Case("forecaster-gru-after", forecaster(**CELLS["gru-after"], **settings), (4, 6), steps=2)
    yield Case("forecaster-rnn", forecaster(**CELLS["rnn-tanh"], **settings), (4, 6), steps=2)


def _network(name: str, arguments: dict[str, Any], call: dict[str, Any]) -> Case:
    spec = network(**{"in_channels": 2, "hidden_channels": 3, **arguments})
    return Case(name, spec, **{"size": SIZES[spec.ndim], **call})
