"""Foreign layouts: out and in again, byte for byte; and sentences for what does not fit."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from support import load_golden

import convgru
from convgru import importers

KAMO = "convolutional_rnn"
NETWORKS = {
    "pytorch_convgru": convgru.network("gru", 3, [4, 6], [3, 5]),
    "convlstm_pytorch": convgru.network("lstm", 2, [4, 3], [(3, 5), 1]),
    f"{KAMO}.gru": convgru.network("gru", 2, [4, 4], (2, 3), reset="after"),
    f"{KAMO}.lstm": convgru.network("lstm", 2, 4, 4, 2, ndim=1),
    f"{KAMO}.rnn": convgru.network("rnn", 2, [3, 5], 3, ndim=3),
    f"{KAMO}.peephole": convgru.network("lstm", 2, [3, 2], 2, peephole="conv"),
    "biconvgru": convgru.network("gru", 3, [4, 6], [3, 5]),
}
BOTH_WAYS = {
    f"{KAMO}.gru": convgru.network("gru", 2, [4, 4], (2, 3), reset="after", bidirectional=True),
    f"{KAMO}.peephole": convgru.network("lstm", 2, [3, 2], 2, peephole="conv", bidirectional=True, ndim=1),
    "biconvgru": convgru.network("gru", 3, [4, 6], [3, 5], bidirectional="stack"),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("layout", NETWORKS)
def test_out_and_in_again_is_equal_to_the_byte(layout, dtype, bias):
    _there_and_back(NETWORKS[layout], layout, dtype, bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", BOTH_WAYS)
def test_both_directions_too(layout, bias):
    _there_and_back(BOTH_WAYS[layout], layout, "float32", bias)


def _there_and_back(spec, layout, dtype, bias):
    layers = tuple(replace(layer, bias=bias) for layer in spec.layers)
    weights = _random(replace(spec, layers=layers), dtype)
    foreign = importers.export(weights, layout)
    back = convgru.adopt(foreign)
    assert back.equal(weights)
    assert convgru.adopt({f"net.module.{name}": array for name, array in foreign.items()}).equal(weights)
    again = importers.export(back, layout)
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: a.tobytes() for name, a in foreign.items()
    }


def _random(spec, dtype="float64"):
    rng = np.random.default_rng(1)
    shapes = convgru.parameter_shapes(spec)
    arrays = {
        name: rng.standard_normal(shape).astype(convgru.weights.dtype_of(dtype)) for name, shape in shapes.items()
    }
    for array in arrays.values():
        array.flat[0] = -0.0  # the one number that adding zero changes
    return convgru.Weights(spec, arrays)


def test_prefix_chooses_one_of_several_networks():
    one, two = _random(convgru.network("lstm", 1, 2)), _random(convgru.network("lstm", 2, 3))
    arrays = {
        **{f"encoder.{k}": v for k, v in importers.export(one, "convlstm_pytorch").items()},
        **{f"decoder.{k}": v for k, v in importers.export(two, "convlstm_pytorch").items()},
        "head.weight": np.ones((1, 3, 1, 1)),
    }
    with pytest.raises(
        convgru.WeightsError, match=r"choose one by prefix=: 'decoder\.' \(convlstm_pytorch\), 'encoder\.' \("
    ):
        convgru.adopt(arrays)
    assert convgru.adopt(arrays, prefix="encoder.").equal(one)
    assert convgru.adopt(arrays, prefix="decoder").equal(two)
    with pytest.raises(convgru.WeightsError, match=r"no array lies below the prefix 'middle\.'"):
        convgru.adopt(arrays, prefix="middle.")
    with pytest.raises(convgru.WeightsError, match=r"no known layout fits the arrays .* that begin with 'head'"):
        convgru.adopt(arrays, prefix="head")


@pytest.mark.parametrize(
    ("layout", "spec"),
    [("linen", convgru.network("lstm", 3, 4)), ("torch.nn", convgru.network("rnn", 5, 7, 1))],
)
def test_what_is_read_does_not_look_like_a_network_that_is_not_read(layout, spec):
    seen = importers.survey(importers.export(_random(spec), layout))
    assert len(seen.matches) == 1
    assert seen.reasons == ()


def test_nonlinearity_is_a_hint():
    weights = _random(convgru.network("rnn", 1, 2, activation="relu"))
    foreign = importers.export(weights, KAMO)
    assert convgru.adopt(foreign, nonlinearity="relu").equal(weights)
    assert convgru.adopt(foreign).spec.layers[0].activation == "tanh"


def _foreign(layout="pytorch_convgru"):
    return importers.export(_random(NETWORKS[layout]), layout)


def _without(name, layout="pytorch_convgru"):
    return {key: array for key, array in _foreign(layout).items() if key != name}


def _with(layout="pytorch_convgru", **arrays):
    return {**_foreign(layout), **{name.replace("__", "."): array for name, array in arrays.items()}}


GATE = "ConvGRUCell_00.update_gate.weight"
REFUSED = {
    "nothing": ({}, {}, "adopt expected arrays, got none"),
    "not a mapping": ([1], {}, "mapping from names to arrays, got list"),
    "a module name that is a number": ({3: np.ones(2)}, {}, "mapping from names"),
    "strange names": ({"a": np.ones(2)}, {}, "no known layout fits the arrays 'a'\nknown are biconvgru, "),
    "unknown layout": (_foreign(), {"layout": "caffe"}, "layout expected one of pytorch_convgru"),
    "other layout": (_foreign(), {"layout": "convlstm_pytorch"}, "no array has a name like 'cell_list.0.conv.weight'"),
    "weight missing": (_without(GATE), {}, f"'{GATE}' is missing"),
    "bias missing": (_without("ConvGRUCell_00.update_gate.bias"), {}, "'ConvGRUCell_00.update_gate.bias' is missing"),
    "layer missing": (
        {key: array for key, array in _foreign().items() if "_00" not in key},
        {},
        "'ConvGRUCell_00.reset_gate.weight' is missing",
    ),
    "gate of another size": (
        _with(**{GATE.replace(".", "__"): np.ones((4, 8, 3, 3))}),
        {},
        r"expected shape \(4, 7, 3, 3\), got \(4, 8",
    ),
    "weight without axes": (_with(ConvGRUCell_00__reset_gate__weight=np.ones(4)), {}, r"has shape \(4,\)"),
    "even kernel": (
        {k: (a[..., :2, :2] if a.ndim == 4 else a) for k, a in _foreign().items()},
        {},
        r"even kernel \(2, 2\), with which the original cannot run",
    ),
    "array too many": (
        {f"net.{key}": array for key, array in _with(ConvGRUCell_00__norm__weight=np.ones(4)).items()},
        {},
        "it has no place for 'net.ConvGRUCell_00.norm.weight'",
    ),
    "half of a direction": (
        _with(f"{KAMO}.gru", weight_ih_l0_reverse=np.ones((12, 2, 2, 3))),
        {},
        "'weight_hh_l0_reverse' is missing",
    ),
    "half of the peepholes": (
        _with(f"{KAMO}.lstm", weight_pi_l0=np.ones((4, 4, 4))),
        {},
        "peephole .*'weight_pf_l0' is missing",
    ),
    "a batch norm without its variance": (
        {
            "conv_lstm_cells.0.gates.0.conv_x.weight": np.ones((4, 1, 3, 3)),
            "conv_lstm_cells.0.gates.0.conv_h.weight": np.ones((4, 1, 3, 3)),
        },
        {},
        "'conv_lstm_cells.0.gates.0.bn2d.weight' is missing",
    ),
    "groups that do not divide": (
        _foreign(f"{KAMO}.gru"),
        {"groups": 2},
        r"expected shape \(12, 2, 2, 3\), got \(12, 4",
    ),
    "groups that are no number": (_foreign(f"{KAMO}.gru"), {"groups": 0}, "groups expected a positive integer, got 0"),
    "hint of no bias": (_foreign(f"{KAMO}.gru"), {"bias": False}, "the arrays say bias=True, the hint says False"),
    "hint of a stride of nothing": (_foreign(f"{KAMO}.gru"), {"stride": 0}, "stride expected a positive integer"),
    "hint of too much dropout": (_foreign("biconvgru"), {"dropout": 1.5}, "dropout expected a probability"),
    "hint unknown": (_foreign(), {"colour": 1}, "takes no hint 'colour', only input_size"),
    "hint of other channels": (_foreign(), {"input_size": 4}, "arrays say input_size=3, the hint says 4"),
    "hint of other layers": (_foreign(), {"n_layers": 3}, "arrays say n_layers=2"),
    "hint of other kernels": (_foreign(), {"kernel_sizes": [3, 3]}, r"arrays say kernel_sizes=\[\(3, 3\), \(5, 5\)\]"),
    "hint of too many kernels": (_foreign(), {"kernel_sizes": [3, 5, 3]}, "the hint says"),
    "hint of two directions": (
        _foreign(f"{KAMO}.gru"),
        {"bidirectional": True},
        "the arrays say bidirectional=False, the hint says True",
    ),
    "hint of an unknown nonlinearity": (
        _foreign(f"{KAMO}.rnn"),
        {"nonlinearity": "swish"},
        "activation expected one of",
    ),
    "dtypes mixed": (
        {**_foreign(), GATE: np.ones((4, 7, 3, 3), np.float32)},
        {},
        "one dtype for all arrays, got float32, float64",
    ),
    "integers": ({key: array.astype(int) for key, array in _foreign().items()}, {}, "dtype expected one of float64"),
    "objects": ({**_foreign(), GATE: np.full((4, 7, 3, 3), None)}, {}, "float64, object"),
    "not arrays": ({**_foreign(), GATE: [[1], [1, 2]]}, {}, "to be an array, got list"),
    "NaN": ({**_foreign(), GATE: np.full((4, 7, 3, 3), np.nan)}, {}, "expected finite numbers"),
    "an LSTM of torch.nn with projections": (
        {"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2)), "weight_hr_l0": np.ones((2, 2))},
        {},
        "torch.nn.lstm .*it has no place for 'weight_hr_l0'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_a_weights_error_with_the_reason(name):
    arrays, options, message = REFUSED[name]
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.adopt(arrays, **options)


def test_the_original_of_bidirectional_conv_lstm_runs_without_strides_only():
    with pytest.raises(convgru.WeightsError, match="the original runs with stride=1 only, got 2"):
        convgru.adopt(load_golden("bidirectional_conv_lstm")[1], stride=2)


@pytest.mark.parametrize(
    ("spec", "layout"),
    [
        (convgru.network("lstm", 1, 2), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, reset="after"), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, ndim=1), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, 4), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, dilation=2), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, padding="valid"), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, activation="relu"), "pytorch_convgru"),
        (convgru.network("lstm", 1, 2, recurrent_kernel_size=5), "convlstm_pytorch"),
        (convgru.network("gru", 1, 2), KAMO),
        (convgru.network("gru", 1, 2, norm=1), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, bidirectional=True), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, bidirectional=True), "biconvgru"),
        (convgru.network("gru", 1, 2, bidirectional="stack", merge="sum"), "biconvgru"),
        (convgru.network("gru", 2, 2, groups=2, reset="after"), KAMO),
        (convgru.network("gru", 1, 2, stride=2, reset="after"), KAMO),
        (convgru.network("lstm", 1, 2, peephole="hadamard"), KAMO),
        (convgru.network("lstm", 1, 2), "bidirectional_conv_lstm"),
        (convgru.forecaster("gru", 1, 2), "pytorch_convgru"),
        (convgru.network("gru", 1, 2), "keras"),
        (convgru.network("gru", 1, 2), "caffe"),
        (convgru.network("lstm", 1, [2, 2], padding="valid"), "keras"),
        (convgru.network("lstm", 1, 2, recurrent_dilation=2), "keras"),
        (convgru.network("lstm", 1, 2, bias=False), "linen"),
        (convgru.network("gru", 1, 2, reset="after"), "torch.nn"),
    ],
)
def test_export_refuses_what_the_original_does_not_have(spec, layout):
    with pytest.raises(convgru.WeightsError, match=re.compile("has no|layout expected", re.DOTALL)):
        importers.export(convgru.init(spec), layout)
