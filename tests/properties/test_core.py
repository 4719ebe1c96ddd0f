"""Properties of every network, on random small ones.

The spec's text, files, time, batch, lengths, translation.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import EXAMPLES, WHOLE, Call, calls, networks, specs
from support import assert_close, random_weights

import convgru
from convgru import reference
from convgru.spec import from_json, to_json
from convgru.spec.describe import json_arguments
from convgru.spec.shapes import state_leaves

EPS = 2.0**15
"""Allowed error in machine epsilons: activations without a bound amplify rounding."""


@given(spec=specs)
@EXAMPLES
def test_a_spec_is_its_json(spec):
    assert from_json(to_json(spec)) == spec
    assert to_json(from_json(to_json(spec))) == to_json(spec)
    assert hash(from_json(to_json(spec))) == hash(spec)


@given(spec=specs)
@EXAMPLES
def test_a_spec_is_made_again_from_its_arguments_in_json(spec):
    arguments = json.loads(json.dumps(json_arguments(spec)))
    if isinstance(spec, convgru.spec.ForecasterSpec):
        assert convgru.forecaster(**arguments) == spec
    else:
        assert convgru.network(spec.cell, **arguments) == spec


@given(spec=specs, dtype=st.sampled_from(["float64", "float32", "float16", "bfloat16"]), seed=st.integers(0, 99))
@EXAMPLES
def test_a_file_gives_back_every_byte(spec, dtype, seed):
    weights = random_weights(spec, seed, dtype)
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "w.safetensors", Path(folder) / "again.safetensors"
        convgru.write(weights, path)
        back = convgru.read(path)
        assert back.equal(weights)
        convgru.write(back, again)
        assert again.read_bytes() == path.read_bytes()


@given(call=calls(networks(bidirectional=(None,))), at=st.integers(0, 4))
@EXAMPLES
def test_splitting_time_changes_nothing(call, at):
    at = min(at, len(call.x))
    whole, end = call.run()
    state, parts = call.state, []
    for part in (slice(0, at), slice(at, None)):
        if len(call.x[part]):
            context = [a[part] for a in call.options["context"]] if "context" in call.options else None
            y, state = call.run(call.x[part], state, context=context)
            parts.append(y)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for (_, a), (_, b) in zip(state_leaves(call.spec, state), state_leaves(call.spec, end), strict=True):
        np.testing.assert_array_equal(a, b)


@given(call=calls(lengths=True), seed=st.integers(0, 99))
@EXAMPLES
def test_the_order_of_the_batch_changes_nothing(call, seed):
    order = np.random.default_rng(seed).permutation(call.x.shape[1])
    y, end = call.run()
    changed = {"lengths": call.options["lengths"][order]}
    if "context" in call.options:
        changed["context"] = [array[:, order] for array in call.options["context"]]
    shuffled, other = call.run(call.x[:, order], call.pick(call.state, order), **changed)
    assert_close(shuffled, y[:, order], eps=EPS)
    assert_close(other, call.pick(end, order), eps=EPS, what="state")


@given(call=calls(lengths=True))
@EXAMPLES
def test_a_padded_sample_is_what_it_is_alone(call):
    y, end = call.run()
    for sample, length in enumerate(call.options["lengths"]):
        one, start = slice(sample, sample + 1), call.pick(call.state, slice(sample, sample + 1))
        assert not y[length:, one].any()
        if length == 0:
            assert_close(call.pick(end, one), start, eps=EPS, what="state")
            continue
        context = [a[:length, one] for a in call.options["context"]] if "context" in call.options else None
        alone, last = call.run(call.x[:length, one], start, lengths=None, context=context)
        assert_close(y[:length, one], alone, eps=EPS)
        assert_close(call.pick(end, one), last, eps=EPS, what="state")


def rolled(call: Call, shifts: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The outputs for the image and for the image moved by ``shifts``, from zero states."""
    axes = tuple(range(3, call.x.ndim))
    return tuple(reference.run(call.weights, x)[0] for x in (call.x, np.roll(call.x, shifts, axes)))


@given(
    call=calls(networks(**WHOLE, padding_mode="circular"), size=8, context=False),
    shifts=st.tuples(*[st.integers(-2, 2)] * 3),
)
@EXAMPLES
def test_on_a_torus_translation_of_the_image_translates_the_output(call, shifts):
    if call.spec.layers[0].state_size is not None:
        return  # its peephole belongs to places
    strides = np.prod([layer.stride for layer in call.spec.layers], axis=0)
    shifts = shifts[: call.spec.ndim]
    y, moved = rolled(call, tuple(int(s * stride) for s, stride in zip(shifts, strides, strict=True)))
    assert_close(moved, np.roll(y, shifts, tuple(range(3, y.ndim))), eps=EPS)


INSIDE = {**WHOLE, "stride": 1, "dilation": 1, "recurrent_dilation": 1, "norm": None}


def reach(spec):
    """How far one step may carry the effect of the border.

    Through input, reset gate or peephole, and state, for each layer and update.
    """
    return sum(
        max(*cell.kernel_size, *cell.recurrent_kernel_size) * 3 // 2 for layer in spec.layers for cell in layer.steps
    )


@given(call=calls(networks(**INSIDE, ndim=1), size=160, context=False), shift=st.integers(-3, 3))
@EXAMPLES
def test_away_from_the_border_translation_translates_the_output(call, shift):
    assume(call.spec.layers[0].state_size is None)
    y, moved = rolled(call, (shift,))
    border = 3 + reach(call.spec) * len(call.x)
    inside = slice(border, y.shape[-1] - border)
    assert inside.stop > inside.start
    assert_close(moved[..., inside], np.roll(y, shift, -1)[..., inside], eps=EPS)


def test_the_strategies_reach_everything():
    """Or the properties above would say less than they seem to."""
    of_network = ("bidirectional", "merge", "output_size", "zoneout")
    of_layer = ("cell", "ndim", "padding_mode", "peephole", "norm", "updates", "groups", "stride", "reset")
    seen = {name: set() for name in (*of_network, *of_layer)}

    @given(spec=networks())
    @EXAMPLES
    def look(spec):
        for name in of_network:
            seen[name].add(getattr(spec, name))
        for name in of_layer:
            seen[name].add(getattr(spec.layers[0], name))

    look()
    least = {
        "bidirectional": 3,
        "merge": 4,
        "padding_mode": 4,
        "peephole": 3,
        "cell": 3,
        "ndim": 3,
        "reset": 3,
        "norm": 4,
    }
    assert {name for name, values in seen.items() if len(values) < least.get(name, 2)} == set()


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_property_can_fail(cell):
    """A context at one place breaks translation, and the comparison notices."""
    weights = random_weights(convgru.network(cell, 1, 2, ndim=1, padding_mode="circular"), 0)
    x = np.random.default_rng(0).standard_normal((2, 1, 1, 8))
    context = [np.eye(1, 8)[None] * np.ones((1, weights.spec.layers[0].gates * 2, 1))]
    y, moved = (reference.run(weights, each, context=context)[0] for each in (x, np.roll(x, 1, -1)))
    with pytest.raises(AssertionError):
        assert_close(moved, np.roll(y, 1, -1), eps=EPS)
