"""Specs as JSON: there and back, and nothing else is let in."""

from __future__ import annotations

import json

import pytest

from convgru.spec import forecaster, from_json, network, to_json

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

SPECS = [
    network("gru", 3, 8),
    network("gru", 1, [4, 6], [3, (1, 5)], reset="after", dilation=2),
    network("lstm", 2, 4, 4, 3, ndim=1, padding=((1, 2),), bias=False),
    network("rnn", 2, 4, (3, 1, 5), ndim=3, padding="valid", activation="relu", recurrent_kernel_size=1),
    forecaster("gru", 1, [4, 4], patch=(2, 3), residual=False),
]
GOOD = json.loads(to_json(SPECS[0]))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_there_and_back(spec):
    assert from_json(to_json(spec)) == spec
    assert hash(from_json(to_json(spec))) == hash(spec)


@given(
    cell=st.sampled_from(["gru", "lstm", "rnn"]),
    ndim=st.integers(1, 3),
    hidden=st.lists(st.integers(1, 64), min_size=1, max_size=4),
    kernel=st.integers(1, 7),
    bias=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_there_and_back_for_any(cell, ndim, hidden, kernel, bias):
    spec = network(cell, 3, hidden, kernel, ndim=ndim, bias=bias)
    assert from_json(to_json(spec)) == spec


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
    ],
)
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError, match="spec"):
        from_json(text)
