"""Hostile and damaged files, .safetensors and .npz: WeightsError, or finite arrays of the spec."""

from __future__ import annotations

import json

import numpy as np
import pytest

import convgru
from convgru.formats import safetensors
from convgru.spec import to_json

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

SUFFIXES = (".safetensors", ".npz")
SPEC = convgru.network("rnn", 1, 2, 1, ndim=1)
WEIGHTS = convgru.init(SPEC)
GOOD = safetensors.to_bytes(WEIGHTS)

NAMES = list(WEIGHTS.arrays)


def _header(change) -> bytes:
    """A file with the header changed by ``change(dict)``, which may return text instead."""
    length = int.from_bytes(GOOD[:8], "little")
    header = json.loads(GOOD[8 : 8 + length])
    text = change(header)
    text = (text if isinstance(text, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + GOOD[8 + length :]


def _set(name, **fields):
    return _header(lambda header: header[name].update(fields))


def _meta(**fields):
    return _header(lambda header: header["__metadata__"].update(fields))


def _spec(spec, number="1"):
    text = spec if isinstance(spec, str) else to_json(spec)
    return _meta(convgru=f'{{"format": {number}, "spec": {text}}}')


def _numbers(value):
    arrays = {name: array.copy() for name, array in WEIGHTS.arrays.items()}
    data = safetensors.to_bytes(WEIGHTS)
    arrays[NAMES[0]].flat[0] = value
    return data[: -sum(a.nbytes for a in arrays.values())] + b"".join(arrays[name].tobytes() for name in sorted(arrays))


TEXT = GOOD[8 : 8 + int.from_bytes(GOOD[:8], "little")].decode()


HOSTILE = {
    "empty": b"",
    "seven bytes": GOOD[:7],
    "length only": GOOD[:8],
    "length zero": bytes(8) + GOOD[8:],
    "length beyond the file": (len(GOOD)).to_bytes(8, "little") + GOOD[8:],
    "length of an exabyte": (2**60).to_bytes(8, "little") + GOOD[8:],
    "length all ones": b"\xff" * 8 + GOOD[8:],
    "header cut": GOOD[:20],
    "data cut by one": GOOD[:-1],
    "data cut to nothing": GOOD[: 8 + len(TEXT)],
    "one byte more": GOOD + b"\0",
    "not JSON": _header(lambda _: "{" + "x" * 40),
    "not UTF-8": (4).to_bytes(8, "little") + b"\xff\xfe\xfd\xfc",
    "a list": _header(lambda _: "[]"),
    "deep lists": _header(lambda _: "[" * 100_000),
    "deep objects": _header(lambda _: '{"a":' * 100_000),
    "deep inside metadata": _header(lambda _: '{"__metadata__":' + "[" * 5000 + "]" * 5000 + "}"),
    "array twice": _header(lambda h: TEXT.rstrip()[:-1] + f',"{NAMES[0]}":{json.dumps(h[NAMES[0]])}}}'),
    "metadata twice": _header(lambda h: TEXT.rstrip()[:-1] + ',"__metadata__":{}}'),
    "shape twice": _header(lambda h: TEXT.replace('"shape":', '"shape":[1],"shape":', 1)),
    "spec key twice": _spec(to_json(SPEC).replace('"ndim": 1', '"ndim": 1, "ndim": 1')),
    "no metadata": _header(lambda h: h.pop("__metadata__") and None),
    "metadata a list": _header(lambda h: h.update(__metadata__=[])),
    "metadata with a number": _meta(convgru=1),
    "format of the future": _spec(SPEC, "2"),
    "format true": _spec(SPEC, "true"),
    "format a text": _spec(SPEC, '"1"'),
    "spec missing": _meta(convgru='{"format": 1}'),
    "note a list": _meta(convgru="[]"),
    "note of another": _header(lambda h: h.update(__metadata__={"format": "pt"})),
    "spec not JSON": _spec("pancake"),
    "spec too long": _spec(to_json(SPEC) + " " * (6 << 20)),
    "spec deep": _spec("[" * 5000 + "]" * 5000),
    "spec with NaN": _spec(to_json(SPEC).replace('"hidden_channels": 2', '"hidden_channels": NaN')),
    "spec with a float": _spec(to_json(SPEC).replace('"ndim": 1', '"ndim": 1.0')),
    "spec with a huge number": _spec(
        to_json(SPEC).replace('"hidden_channels": 2', '"hidden_channels": 1' + "0" * 4000)
    ),
    "spec of a billion channels": _spec(convgru.network("rnn", 1, 10**9, 1, ndim=1)),
    "spec of another cell": _spec(convgru.network("gru", 1, 2, 1, ndim=1)),
    "spec of another size": _spec(convgru.network("rnn", 1, 3, 1, ndim=1)),
    "array missing": _header(lambda h: h.pop(NAMES[0]) and None),
    "array too many": _header(lambda h: h.update(more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})),
    "array renamed": _header(lambda h: h.update(other=h.pop(NAMES[0]))),
    "array not an object": _header(lambda h: h.update({NAMES[0]: 3})),
    "array with one field more": _set(NAMES[0], comment="hello"),
    "array with one field less": _header(lambda h: h[NAMES[0]].pop("shape") and None),
    "dtype unknown": _set(NAMES[0], dtype="F31"),
    "dtype a number": _set(NAMES[0], dtype=32),
    "dtype a list": _set(NAMES[0], dtype=["F32"]),
    "dtype integer": _header(lambda h: [h[name].update(dtype="I32") for name in NAMES] and None),
    "dtypes mixed": _set(NAMES[0], dtype="I32"),
    "shape other": _set(NAMES[0], shape=[1, 2, 1]),
    "shape negative": _set(NAMES[0], shape=[-2, -1, 1]),
    "shape floating": _set(NAMES[0], shape=[2.0, 1, 1]),
    "shape boolean": _set(NAMES[0], shape=[2, True, 1]),
    "shape a text": _set(NAMES[0], shape="211"),
    "shape huge": _set(NAMES[0], shape=[2**40, 2**40, 2**40]),
    "shape of many axes": _set(NAMES[0], shape=[2] + [1] * 5000),
    "offsets swapped": _set(NAMES[0], data_offsets=[8, 0]),
    "offsets negative": _set(NAMES[0], data_offsets=[-8, 0]),
    "offsets overlapping": _set(NAMES[1], data_offsets=[0, 16]),
    "offsets beyond the end": _set(NAMES[0], data_offsets=[1000, 1008]),
    "offsets huge": _set(NAMES[0], data_offsets=[2**70, 2**70 + 8]),
    "offsets of three": _set(NAMES[0], data_offsets=[0, 8, 8]),
    "offsets floating": _set(NAMES[0], data_offsets=[0.0, 8.0]),
    "a number with 5000 digits": _header(lambda h: TEXT.replace("[0,8]", "[0,8" + "0" * 5000 + "]", 1)),
    "NaN": _numbers(np.nan),
    "infinite": _numbers(-np.inf),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
}


def test_the_sound_file_is_sound(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(_header(lambda _: None))
    assert convgru.read(tmp_path / "w.safetensors").equal(WEIGHTS)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_weights_errors(tmp_path, name):
    path = tmp_path / "w.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(convgru.WeightsError):
        convgru.read(path)


def test_a_header_that_promises_much_costs_nothing(tmp_path):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:  # sparse: 1 GiB of holes after a length of 512 MiB
        file.write((1 << 29).to_bytes(8, "little"))
        file.truncate(1 << 30)
    with pytest.raises(convgru.WeightsError, match="header of at most"):
        convgru.read(path)


def _refuses_or_reads(path, data):
    path.write_bytes(data)
    try:
        weights = convgru.read(path, spec=SPEC if path.suffix == ".npz" else None)
    except convgru.WeightsError:
        return
    assert {name: array.shape for name, array in weights.arrays.items()} == convgru.parameter_shapes(weights.spec)
    assert all(np.isfinite(array).all() for array in weights.arrays.values())


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of a sound file, by suffix."""
    folder = tmp_path_factory.mktemp("sound")
    convgru.write(WEIGHTS, folder / "w.safetensors")
    np.savez(folder / "w.npz", **WEIGHTS.arrays)
    return {suffix: (folder / f"w{suffix}").read_bytes() for suffix in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_is_a_weights_error(tmp_path, sound, suffix):
    path, good = tmp_path / f"w{suffix}", sound[suffix]
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(convgru.WeightsError):
            convgru.read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flipped_bytes_are_weights_errors_or_other_numbers(tmp_path, sound, suffix):
    path, good = tmp_path / f"w{suffix}", sound[suffix]
    for position in range(len(good)):
        for value in (0xFF, good[position] ^ 1, good[position] ^ 0x80, ord("9")):
            _refuses_or_reads(path, good[:position] + bytes([value]) + good[position + 1 :])


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_spliced_bytes_are_weights_errors_or_other_numbers(tmp_path_factory, sound, suffix, data):
    path, good = tmp_path_factory.getbasetemp() / f"spliced{suffix}", sound[suffix]
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(good)), st.integers(0, len(good)))))
    middle = data.draw(st.one_of(st.binary(max_size=40), st.text('[]{}":,0123456789e-.', max_size=40).map(str.encode)))
    _refuses_or_reads(path, good[:start] + middle + good[stop:])
