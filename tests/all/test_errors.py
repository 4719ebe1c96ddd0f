"""One mistake, one exception and one sentence in every framework: a table of wrong calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import convgru
from convgru import reference, registry

GRU = convgru.network("gru", 3, [4, 5])
LSTM = convgru.network("lstm", 3, 4)
BOTH = convgru.network("gru", 3, 4, bidirectional=True)
TRAINED = convgru.network("gru", 3, [4, 4], dropout=0.5, zoneout=0.1)
VALID = convgru.network("gru", 3, 4, 5, padding="valid")
FORECASTER = convgru.forecaster("gru", 1, 4, patch=(2, 4))


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


X, H, FRAME = zeros(8, 2, 3, 16, 16), zeros(2, 4, 16, 16), zeros(3, 2, 1, 8, 8)
MASKS = {
    "dropout.0": zeros(8, 2, 4, 16, 16),
    "zoneout.0.h": zeros(8, 2, 4, 16, 16),
    "zoneout.1.h": zeros(8, 2, 4, 16, 16),
}
LEARNED = {"targets": zeros(2, 2, 1, 8, 8), "forced": np.zeros((2, 2), bool)}

EACH = r"\(one for each layer and direction\)"
CALLS: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no array": (GRU, {"x": "abc"}, TypeError, r"ConvGRU expected x to be an? \S+, got str"),
    "input channels": (GRU, {"x": zeros(8, 2, 4, 16, 16)}, ValueError, r"ConvGRU expected 3 input channels on axis \d, got 4"),
    "no pixels": (GRU, {"x": zeros(8, 2, 3, 0, 16)}, ValueError, r"ConvGRU expected at least 1 on axis \d \(H\), got 0"),
    "no frames": (GRU, {"x": zeros(0, 2, 3, 16, 16)}, ValueError, r"ConvGRU expected at least 1 on axis \d \(time\), got 0"),
    "too small": (VALID, {"x": zeros(8, 2, 3, 4, 16)}, ValueError, r"ConvGRU layer 0 expected at least 5 pixels in spatial dimension 0"),
    "state is an array": (GRU, {"state": H}, TypeError, r"ConvGRU expected a state that is a tuple of 2 \(one entry for each layer\), got \w+"),
    "state too short": (GRU, {"state": (H,)}, ValueError, r"ConvGRU expected a state of 2 \(one entry for each layer\), got 1"),
    "state of one direction": (BOTH, {"state": (H,)}, ValueError, r"ConvGRU expected a state of 2 \(one entry for each layer and direction\), got 1"),
    "state channels": (GRU, {"state": (H, H)}, ValueError, r"ConvGRU state\[1\] \(h\) expected shape \(2, .*5.*\), got \(2, .*4.*\)"),
    "no pair": (LSTM, {"state": (H,)}, TypeError, r"ConvLSTM expected state\[0\] to be a pair \(h, c\), got \w+"),
    "no state": (GRU, {"state": (H, "abc")}, TypeError, r"ConvGRU expected state\[1\] \(h\) to be an? \S+, got str"),
    "cell state": (LSTM, {"state": ((H, H[..., :-1]),)}, ValueError, r"ConvLSTM state\[0\] \(c\) expected shape"),
    "lengths, number": (GRU, {"lengths": [8]}, ValueError, r"ConvGRU expected LENGTHS to be 2 integers \(one for each sample\), got int\d+ of shape \(1,\)"),
    "lengths, kind": (GRU, {"lengths": [8.0, 4.0]}, ValueError, r"ConvGRU expected LENGTHS to be 2 integers \(one for each sample\), got float\d+"),
    "lengths too long": (GRU, {"lengths": [9, 1]}, ValueError, r"ConvGRU expected LENGTHS from 0 to 8 \(the time steps of the input\), got \[9, 1\]"),
    "context, number": (BOTH, {"context": (zeros(2, 12, 16, 16),)}, ValueError, rf"ConvGRU expected a context of 2 arrays {EACH}, got 1"),
    "context is an array": (BOTH, {"context": zeros(2, 12, 16, 16)}, TypeError, rf"ConvGRU expected a context of 2 arrays {EACH}, got \w+"),
    "context channels": (LSTM, {"context": (zeros(2, 12, 16, 16),)}, ValueError, r"ConvLSTM context\[0\] expected shape \(2, .*16.*\), got \(2, .*12.*\)"),
    "masks, names": (TRAINED, {"masks": {"dropout.0": MASKS["dropout.0"]}}, ValueError, r"ConvGRU masks: missing zoneout\.0\.h, zoneout\.1\.h"),
    "masks, shape": (TRAINED, {"masks": {**MASKS, "zoneout.1.h": zeros(8, 2, 5, 16, 16)}}, ValueError, r"ConvGRU mask zoneout\.1\.h expected shape"),
    "masks, a list": (TRAINED, {"masks": [MASKS["dropout.0"]]}, TypeError, r"ConvGRU expected masks to be a mapping from names to arrays, got list"),
    "steps": (FORECASTER, {"x": FRAME, "steps": 0}, ValueError, r"Forecaster expected steps, how many frames to forecast, to be a positive integer, got 0"),
    "patch": (FORECASTER, {"x": zeros(3, 2, 1, 8, 6), "steps": 2}, ValueError, r"Forecaster expected a multiple of 4 .* in spatial dimension 1, got 6"),
    "targets alone": (FORECASTER, {"x": FRAME, "steps": 2, "targets": LEARNED["targets"]}, TypeError, r"Forecaster expected targets .*together"),
    "targets, shape": (FORECASTER, {"x": FRAME, "steps": 3, **LEARNED}, ValueError, r"Forecaster targets expected shape"),
    "forced, kind": (FORECASTER, {"x": FRAME, "steps": 2, **LEARNED, "forced": zeros(2, 2)}, TypeError, r"expected forced of dtype bool, got float32"),
    "resume from many": (FORECASTER, {"x": FRAME, "steps": 2, "resume": True}, ValueError, r"Forecaster expected one frame to resume from .*, got 3"),
    "resume from nothing": (FORECASTER, {"x": FRAME[:1], "steps": 2, "resume": True}, ValueError, r"Forecaster expected a state to resume from .*, got None"),
    "last only, a number": (GRU, {"last_only": 1}, TypeError, r"ConvGRU expected last_only to be True or False, got 1"),
    "all layers, a word": (GRU, {"return_all_layers": "no"}, TypeError, r"ConvGRU expected return_all_layers to be True or False, got 'no'"),
    "resume, an array": (FORECASTER, {"x": FRAME, "steps": 2, "resume": np.ones(1)}, TypeError, r"Forecaster expected resume to be True or False, got \D*1"),
    "a step both ways": (BOTH, {"step": True}, TypeError, r"ConvGRU expected a whole sequence: its second direction starts at the last frame"),
}  # fmt: skip
ELSEWHERE = {
    ("reference", "no array"): "the reference takes whatever NumPy makes an array of",
    ("reference", "forced, kind"): "the reference takes whatever NumPy makes an array of",
    ("reference", "a step both ways"): "the reference has no steps",
    ("mindspore", "lengths, kind"): "MindSpore makes tensors of lists before a layer can check them",
}
"""What a framework cannot be asked, with the reason."""


def _reference(weights: Any) -> Callable[..., Any]:
    return lambda x, state=None, **options: reference.run(weights, x, state, **options)


def _torch(weights: Any) -> Callable[..., Any]:
    import torch

    def native(array: np.ndarray, timed: bool) -> Any:
        return torch.from_numpy(array)

    return _module(convgru.build(weights, "torch"), native, {})


def _mindspore(weights: Any) -> Callable[..., Any]:
    import mindspore

    def native(array: np.ndarray, timed: bool) -> Any:
        return mindspore.Tensor(array)

    return _module(convgru.build(weights, "mindspore"), native, {"lengths": LENGTHS["mindspore"]})


def _flax(weights: Any) -> Callable[..., Any]:
    from jax import numpy as jnp

    def native(array: np.ndarray, timed: bool) -> Any:
        last = _channels_last(array, weights.spec.ndim)
        return jnp.asarray(np.swapaxes(last, 0, 1) if timed else last)

    return _module(convgru.build(weights, "flax"), native, {"lengths": LENGTHS["flax"]})


def _jax(weights: Any) -> Callable[..., Any]:
    from jax import numpy as jnp

    import convgru.jax as face

    spec, params = convgru.build(weights, "jax")

    def native(array: np.ndarray, timed: bool) -> Any:
        return jnp.asarray(_channels_last(array, spec.ndim))

    def run(x: Any, state: Any = None, *, steps: Any = None, step: bool = False, **options: Any) -> Any:
        x, state, options = _converted(x, state, options, native)
        if steps is not None:
            return face.forecast(spec, params, x, steps, state, **options)
        return (face.step if step else face.apply)(spec, params, x[0] if step else x, state, **options)

    return run


def _module(net: Any, native: Callable[[np.ndarray, bool], Any], names: dict[str, str]) -> Callable[..., Any]:
    def run(x: Any, state: Any = None, *, steps: Any = None, step: bool = False, **options: Any) -> Any:
        if step:
            return net.step(native(x[0], False), state)
        x, state, options = _converted(x, state, options, native)
        given = {names.get(name, name): value for name, value in options.items()}
        return net(x, *(() if steps is None else (steps,)), state, **given)

    return run


def _converted(x: Any, state: Any, options: dict[str, Any], native: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A call's arrays as the framework's own; masks keep time in front."""

    def convert(value: Any, timed: bool) -> Any:
        if isinstance(value, np.ndarray):
            return native(value, timed)
        if isinstance(value, dict):
            return {name: convert(each, False) for name, each in value.items()}
        return type(value)(convert(each, timed) for each in value) if isinstance(value, (tuple, list)) else value

    given = {name: convert(value, name in ("targets", "forced")) for name, value in options.items()}
    return convert(x, True), convert(state, False), given


def _channels_last(array: np.ndarray, ndim: int) -> np.ndarray:
    return np.moveaxis(array, -(ndim + 1), -1) if array.ndim > ndim else array


LENGTHS = {"flax": "seq_lengths", "mindspore": "seq_length"}
"""What a framework calls lengths, in a call and in its errors."""

ROOMS = {"reference": _reference, "torch": _torch, "jax": _jax, "flax": _flax, "mindspore": _mindspore}


@pytest.mark.parametrize("mistake", CALLS)
@pytest.mark.parametrize("room", ROOMS)
def test_a_wrong_call_says_the_same_everywhere(room, mistake):
    if reason := ELSEWHERE.get((room, mistake)):
        pytest.skip(reason)
    if room != "reference" and (absent := _absent(room)):
        pytest.skip(absent)
    spec, call, kind, message = CALLS[mistake]
    run = ROOMS[room](convgru.init(spec))
    with pytest.raises(kind) as caught:
        run(**{"x": X, **call})
    assert type(caught.value) is kind
    message = message.replace("LENGTHS", LENGTHS.get(room, "lengths"))
    assert re.search(message, str(caught.value)), caught.value


@pytest.mark.parametrize("room", ROOMS)
def test_a_bool_of_numpy_is_a_bool(room):
    if room != "reference" and (absent := _absent(room)):
        pytest.skip(absent)
    run, x = ROOMS[room](convgru.init(GRU)), X[:2, :1, :, :4, :4]
    outputs, _ = run(x=x, return_all_layers=np.True_, last_only=np.bool_(0))
    assert [tuple(map(int, y.shape)) for y in outputs] in (
        [(2, 1, 4, 4, 4), (2, 1, 5, 4, 4)],
        [(2, 1, 4, 4, 4), (2, 1, 4, 4, 5)],
        [(1, 2, 4, 4, 4), (1, 2, 4, 4, 5)],
    )


SIZES = {
    "a number": (2, 8, "expected a size of 2 numbers .*, got 8"),
    "one dimension": (2, (8,), r"expected a size of 2 numbers .*, got \(8,\)"),
    "no pixels": (2, (8, 0), "size expected a positive integer, got 0"),
    "batch": (-1, (8, 8), "expected a batch that is an integer >= 0, got -1"),
}


@pytest.mark.parametrize("mistake", SIZES)
@pytest.mark.parametrize("room", ["torch", "jax", "mindspore"])
def test_a_wrong_size_of_a_zero_state_says_the_same_everywhere(room, mistake):
    if absent := _absent(room):
        pytest.skip(absent)
    batch, size, message = SIZES[mistake]
    net: Any = convgru.build(convgru.init(GRU), room)
    zero_state = partial(registry.room("jax", "functional").zero_state, GRU) if room == "jax" else net.zero_state
    with pytest.raises(ValueError, match=f"^ConvGRU zero_state {message}$"):
        zero_state(batch, size)


def _absent(room: str) -> str | None:
    try:
        registry.get(room)
    except ImportError as error:
        return str(error)
    return None
