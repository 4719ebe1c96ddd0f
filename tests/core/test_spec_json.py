"""Specs as JSON: there and back, and nothing else is let in."""

from __future__ import annotations

import json

import pytest

from convgru.parity.table import table
from convgru.spec import Norm, forecaster, from_json, network, to_json

SPECS = [
    network("gru", 3, 8),
    network("gru", 1, [4, 6], [3, (1, 5)], reset="after", dilation=2),
    network("lstm", 2, 4, 4, 3, ndim=1, padding=((1, 2),), bias=False),
    network("rnn", 2, 4, (3, 1, 5), ndim=3, padding="valid", activation="relu", recurrent_kernel_size=1),
    forecaster("gru", 1, [4, 4], patch=(2, 3), residual=False),
    network(
        "gru", 4, [4, 2], groups=2, stride=[2, (1, 3)], recurrent_stride=2, padding="preserve", padding_mode="reflect"
    ),
    network(
        "lstm", 2, 4, peephole="hadamard", state_size=(5, 7), norm=Norm((4,), 1e-3), recurrent_activation="hard_sigmoid"
    ),
    network("lstm", 2, 4, peephole="conv", norm=2, ndim=3, bidirectional=True, merge="mean"),
    network("gru", 2, [4, 2], norm=(2, 1), updates=((1, 5), (5, 1)), bidirectional="stack", merge="mul"),
    network("rnn", 2, 4, dropout=0.1, recurrent_dropout=0.2, zoneout=0.3, output_size=(4, 3), activation="leaky_relu"),
    forecaster("lstm", 1, [4, 4], decoder=True, feedback=False),
    forecaster("gru", 1, 4, decoder=network("gru", 1, 4, 5, norm=1, reset="after")),
]
GOOD = json.loads(to_json(SPECS[0]))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_there_and_back(spec):
    assert from_json(to_json(spec)) == spec
    assert hash(from_json(to_json(spec))) == hash(spec)


def test_equal_specs_have_equal_text():
    one, other = (network("gru", 1, [2, 2], dropout=p, zoneout=q) for p, q in ((0, -0.0), (0.0, 0)))
    assert one == other
    assert to_json(one) == to_json(other)


def test_what_an_older_file_does_not_say_is_the_default():
    new = {"norm", "updates", "groups", "padding_mode", "peephole", "state_size"}
    old = {name: value for name, value in GOOD["layers"][0].items() if name not in new}
    assert from_json(json.dumps({"kind": "network", "layers": [old]})) == SPECS[0]


def _changed(**layer):
    return json.dumps({**GOOD, "layers": [{**GOOD["layers"][0], **layer}]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        '{"kind": "network"}',
        '{"kind": "pancake", "layers": []}',
        '{"kind": "network", "layers": []}',
        '{"kind": "network", "layers": 3}',
        '{"kind": "network", "layers": {"a": 1}}',
        '{"kind": "network", "layers": [[]]}',
        '{"kind": "forecaster", "encoder": 1, "patch": [1, 1]}',
        '{"kind": "forecaster", "patch": [1, 1]}',
        json.dumps({**GOOD, "colour": "red"}),
        _changed(cell="mlp"),
        _changed(ndim=2.0),
        _changed(ndim="2"),
        _changed(ndim=True),
        _changed(hidden_channels=-1),
        _changed(hidden_channels=1e9),
        _changed(hidden_channels=None),
        _changed(kernel_size=[3]),
        _changed(kernel_size=[[3], 3]),
        _changed(kernel_size=3),
        _changed(padding="reflect"),
        _changed(padding=[[1, 1]]),
        _changed(bias=1),
        _changed(reset=None),
        _changed(activation="swish"),
        _changed(eval="1"),
        _changed(stride=[0, 1]),
        _changed(groups=2),
        _changed(groups=1.0),
        _changed(padding_mode="mirror"),
        _changed(peephole="conv"),
        _changed(state_size=[4, 4]),
        _changed(norm=1),
        _changed(norm=[1, 1]),
        _changed(norm={"groups": [1]}),
        _changed(norm={"groups": [1, 1], "eps": 0}),
        _changed(norm={"groups": [1, 1], "affine": True}),
        _changed(updates=[[3, 3]]),
        _changed(updates="3"),
        json.dumps({**GOOD, "bidirectional": True}),
        json.dumps({**GOOD, "merge": None}),
        json.dumps({**GOOD, "dropout": 2}),
        json.dumps({**GOOD, "zoneout": "0.1"}),
        json.dumps({**GOOD, "output_size": [3]}),
        json.dumps({**json.loads(to_json(SPECS[4])), "decoder": GOOD}),
        json.dumps({**json.loads(to_json(SPECS[4])), "decoder": []}),
        json.dumps({**json.loads(to_json(SPECS[4])), "feedback": 1}),
    ],
)
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError, match="spec"):
        from_json(text)


@pytest.mark.parametrize("case", table(), ids=lambda case: case.name)
def test_a_spec_is_printed_as_the_call_that_makes_it(case):
    assert eval(repr(case.spec), {"network": network, "forecaster": forecaster, "Norm": Norm}) == case.spec
    assert len(repr(case.spec)) < 160
