"""Files of weights: there and back to the byte, whole or not at all, and nothing hostile gets in."""

from __future__ import annotations

import json
import os

import ml_dtypes
import numpy as np
import pytest

import convgru
from convgru.formats import atomic, safetensors
from convgru.spec import to_json
from convgru.weights import DTYPES

hypothesis = pytest.importorskip("hypothesis")
safe_open = pytest.importorskip("safetensors").safe_open
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

SPECS = {
    "gru": convgru.network("gru", 2, [3, 2], reset="after"),
    "lstm": convgru.network("lstm", 1, 2, (2, 3), bias=False),
    "rnn": convgru.network("rnn", 1, 2, 2, ndim=3),
    "forecaster": convgru.forecaster("gru", 1, 2, patch=2),
}
SUFFIXES = (".safetensors", ".npz")
"""The files that the core reads by itself; it writes weights as .safetensors alone."""
SPEC = convgru.network("rnn", 1, 2, 1, ndim=1)
WEIGHTS = convgru.init(SPEC)
GOOD = safetensors.to_bytes(WEIGHTS)
NAMES = list(WEIGHTS.arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECS)
def test_there_and_back_to_the_byte(tmp_path, name, dtype):
    weights = convgru.init(SPECS[name], seed=3, dtype=dtype)
    path = tmp_path / "w.safetensors"
    convgru.write(weights, path)
    back = convgru.read(path)
    assert back.equal(weights)
    assert back.dtype == weights.dtype
    assert all(array.flags.writeable and array.flags.aligned for array in back.arrays.values())
    first = path.read_bytes()
    convgru.write(back, path)
    assert path.read_bytes() == first  # equal weights give equal bytes


def test_the_package_safetensors_reads_our_files(tmp_path):
    weights = convgru.init(SPECS["forecaster"])
    convgru.write(weights, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "np") as file:
        assert sorted(file.keys()) == sorted(weights.arrays)
        assert all((file.get_tensor(name) == array).all() for name, array in weights.arrays.items())
        assert json.loads(file.metadata()["convgru"]) == {"format": 1, "spec": json.loads(to_json(weights.spec))}


@pytest.mark.parametrize("name", SPECS)
def test_an_npz_holds_arrays_and_no_spec(tmp_path, name):
    weights = convgru.init(SPECS[name])
    with pytest.raises(convgru.WeightsError, match=r"got '\.npz', which holds no spec: numpy\.savez writes"):
        convgru.write(weights, tmp_path / "w.npz")
    np.savez(tmp_path / "w.npz", **weights.arrays)
    with pytest.raises(convgru.WeightsError, match=r"does not hold the spec"):
        convgru.read(tmp_path / "w.npz")
    assert convgru.read(tmp_path / "w.npz", spec=weights.spec).equal(weights)


def test_strided_arrays_are_written_as_they_read(tmp_path):
    arrays = {name: np.asfortranarray(array) for name, array in WEIGHTS.arrays.items()}
    convgru.write(convgru.Weights(SPEC, arrays), tmp_path / "w.safetensors")
    assert convgru.read(tmp_path / "w.safetensors").equal(WEIGHTS)
    np.savez(tmp_path / "w.npz", **arrays)
    assert convgru.read(tmp_path / "w.npz", spec=SPEC).equal(WEIGHTS)


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
    "spec too long": _spec(to_json(SPEC) + " " * (1 << 20)),
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


@pytest.mark.parametrize("name", ["w", "w.txt", "w.pkl", "w.onnx"])
def test_an_unknown_suffix_is_a_weights_error_that_lists_the_known(tmp_path, name):
    with pytest.raises(convgru.WeightsError, match=r"\.safetensors, \.pt, \.pth, \.msgpack, \.ckpt, \.npz, \.bin"):
        convgru.read(tmp_path / name)
    with pytest.raises(convgru.WeightsError, match=r"\.safetensors, \.pt, \.pth, \.msgpack, \.ckpt, got"):
        convgru.write(WEIGHTS, tmp_path / name)


def test_no_such_file_is_an_os_error(tmp_path):
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError):
            convgru.read(tmp_path / f"none{suffix}")
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(OSError, match="folder"):
            convgru.read(tmp_path / f"folder{suffix}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    for suffix in SUFFIXES:
        os.mkfifo(tmp_path / f"w{suffix}")
        with pytest.raises(convgru.WeightsError, match="pipe"):
            convgru.read(tmp_path / f"w{suffix}")


def test_writing_what_is_no_weights_is_a_type_error(tmp_path):
    with pytest.raises(TypeError, match=r"expected convgru\.Weights, got dict"):
        convgru.write({}, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    convgru.write(WEIGHTS, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        convgru.write(convgru.init(SPEC, seed=1), path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_replacing_follows_a_link_and_cleans_up(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "w.safetensors", tmp_path / "w.safetensors"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with pytest.raises(FileNotFoundError), atomic.replacing(link) as temporary:
        temporary.rename(temporary.with_name("elsewhere")).write_bytes(b"half")
    (target.parent / "elsewhere").unlink()
    assert target.read_bytes() == b"old"
    with atomic.replacing(link) as temporary:
        assert temporary.suffix == ".safetensors"
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [each.name for each in target.parent.iterdir()] == [target.name]


def test_foreign_safetensors_are_read_with_every_plain_dtype(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"a": np.arange(3, dtype=np.int64), "b": np.ones((2, 1), ml_dtypes.bfloat16), "c": np.ones(1, np.uint8)}
    save_file(arrays, tmp_path / "f.safetensors")
    found = safetensors.contents(tmp_path / "f.safetensors").arrays
    assert all((found[name] == array).all() and found[name].dtype == array.dtype for name, array in arrays.items())


def test_replacing_keeps_what_exists_if_told_so(tmp_path):
    """Before the block and after it: a file that somebody writes in the meantime is kept too."""
    target = tmp_path / "report.json"
    with atomic.replacing(target, overwrite=False) as temporary:
        temporary.write_bytes(b"first")
    with pytest.raises(FileExistsError, match=r"report\.json exists"), atomic.replacing(target, overwrite=False):
        pytest.fail("the block is not entered")
    target.unlink()

    def write():
        with atomic.replacing(target, overwrite=False) as temporary:
            temporary.write_bytes(b"mine")
            target.write_bytes(b"somebody else's")

    with pytest.raises(FileExistsError, match=r"report\.json exists"):
        write()
    assert target.read_bytes() == b"somebody else's"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"layers.0.fwd.bias": "bias"}, r"ConvRNN weights: missing layers\.0\.fwd\.bias; unexpected bias$"),
        ({"layers.0.fwd.bias": None}, r"ConvRNN weights: missing layers\.0\.fwd\.bias$"),
    ],
)
def test_names_that_are_not_the_specs(tmp_path, rename, message):
    """Before anything is read: the header of the file is compared with the spec in its metadata."""
    from safetensors.numpy import save_file

    renamed = {rename.get(name, name): array for name, array in WEIGHTS.arrays.items()}
    note = {"convgru": json.dumps({"format": 1, "spec": json.loads(to_json(SPEC))})}
    save_file({name: array for name, array in renamed.items() if name}, tmp_path / "w.safetensors", note)
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.read(tmp_path / "w.safetensors")
