"""Untrusted msgpack files: WeightsError whatever the bytes, and memory bounded by their size."""

import tracemalloc

import msgpack
import numpy as np
import pytest
from flax import serialization

import convgru
from convgru.errors import WeightsError
from convgru.spec import network, to_json
from convgru_flax import checkpoint

SPEC = network("gru", 1, 2)
NAMES = ["layers.0.fwd.weight_ih", "layers.0.fwd.weight_hh", "layers.0.fwd.bias"]


@pytest.fixture
def good(weights, tmp_path):
    """A file as convgru writes it, as bytes."""
    path = tmp_path / "good.msgpack"
    checkpoint.write(weights(SPEC), path)
    assert convgru.read(path).equal(weights(SPEC))
    return path.read_bytes()


def params(good):
    return serialization.msgpack_restore(good)["params"]


def packed(tree):
    return serialization.msgpack_serialize(tree, in_place=True)


def with_params(good, **changes):
    return packed({"spec": to_json(SPEC), "params": {**params(good), **changes}})


def instead(data):
    """The bias replaced by an array packed by hand."""
    return lambda good: with_params(good, **{NAMES[2]: None}).replace(b"\xc0", ndarray_bytes(*data))


def ndarray(shape, dtype, data):
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, data), use_bin_type=True))


def repeated(good):
    """A parameter that stands there twice, the map counting three."""
    raw = packed({"spec": to_json(SPEC), "params": {NAMES[0]: params(good)[NAMES[0]]}})
    start = raw.index(b"\xa6params") + 8
    entry = raw[start:]
    return raw[: start - 1] + b"\x83" + entry * 3


def bias(value):
    return lambda good: with_params(good, **{NAMES[2]: value})


HUGE = to_json(network("gru", 1, 10**9))
HOSTILE = {
    "empty": lambda good: b"",
    "text": lambda good: b"hello, world",
    "one byte": lambda good: good[:1],
    "in the spec": lambda good: good[:40],
    "before params": lambda good: good[: good.index(b"\xa6params")],
    "in an array": lambda good: good[:-20],
    "last byte": lambda good: good[:-1],
    "trailing byte": lambda good: good + b"\0",
    "twice": lambda good: good * 2,
    "long": lambda good: good + bytes(1 << 20),
    "a list": lambda good: packed([1, 2]),
    "no params": lambda good: packed({"spec": to_json(SPEC)}),
    "another key": lambda good: packed({"spec": to_json(SPEC), "weights": params(good)}),
    "params a list": lambda good: packed({"spec": to_json(SPEC), "params": [1, 2, 3]}),
    "params null": lambda good: packed({"spec": to_json(SPEC), "params": None}),
    "spec a number": lambda good: packed({"spec": 3, "params": params(good)}),
    "spec no json": lambda good: packed({"spec": "{", "params": params(good)}),
    "spec another kind": lambda good: packed({"spec": '{"kind": "tree"}', "params": params(good)}),
    "spec deep": lambda good: packed({"spec": "[" * 100_000, "params": params(good)}),
    "spec too long": lambda good: packed({"spec": " " * (2 << 20), "params": params(good)}),
    "spec too large": lambda good: packed({"spec": HUGE, "params": params(good)}),
    "spec of another": lambda good: packed({"spec": to_json(network("gru", 1, 3)), "params": params(good)}),
    "missing": lambda good: packed({"spec": to_json(SPEC), "params": {n: params(good)[n] for n in NAMES[:2]}}),
    "extra": lambda good: with_params(good, extra=np.zeros(6, np.float32)),
    "renamed": lambda good: good.replace(b"fwd.bias", b"bwd.bias"),
    "repeated": repeated,
    "shape": bias(np.zeros((2, 3), np.float32)),
    "other dtype": bias(np.zeros(6, np.float64)),
    "integers": bias(np.zeros(6, np.int32)),
    "complex": bias(np.zeros(6, np.complex64)),
    "nan": bias(np.full(6, np.nan, np.float32)),
    "infinite": bias(np.full(6, np.inf, np.float32)),
    "a list of numbers": bias([0.0] * 6),
    "a scalar": bias(1.0),
    "text for an array": bias("x" * 24),
    "map for an array": bias({"a": "x" * 24}),
    "chunks that do not fit": bias(
        {"__msgpack_chunked_array__": True, "shape": {"0": 7}, "chunks": {"0": np.zeros(6, np.float32)}}
    ),
    "object dtype": instead(((6,), "O", bytes(48))),
    "void dtype": instead(((6,), "V4", bytes(24))),
    "no dtype": instead(((6,), "foo", bytes(24))),
    "wide shape": instead(((0, 1 << 40), "float32", bytes(24))),
    "negative shape": instead(((-6,), "float32", bytes(24))),
    "ext of another kind": lambda good: with_params(good, **{NAMES[2]: None}).replace(
        b"\xc0", msgpack.packb(msgpack.ExtType(9, bytes(24)))
    ),
    "complex scalar": bias(complex(1, 2)),
}


def test_the_order_of_the_entries_is_free(good, weights, tmp_path):
    """flax.serialization sorts them where a user writes the same tree."""
    tree = {"params": params(good), "spec": to_json(SPEC)}
    (tmp_path / "sorted.msgpack").write_bytes(serialization.msgpack_serialize(tree))
    assert convgru.read(tmp_path / "sorted.msgpack").equal(weights(SPEC))


def ndarray_bytes(shape, dtype, data):
    return msgpack.packb(ndarray(shape, dtype, data))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file(name, good, tmp_path):
    path = tmp_path / "bad.msgpack"
    data = HOSTILE[name](good)
    assert data != good
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"bad\.msgpack: "):
        convgru.read(path)


def test_memory_is_bounded_by_the_file(good, tmp_path):
    """A short file that claims gigabytes: spec, string, map and array lengths."""
    claims = [
        HOSTILE["spec too large"](good),
        b"\x82\xa4spec\xdb\xff\xff\xff\xff" + good[7:],
        good[: good.index(b"\xa6params") + 7] + b"\xdf\xff\xff\xff\xff",
        good.replace(b"\xa6params\x83", b"\xa6params\x83\xdb\x7f\xff\xff\xff"),
    ]
    path = tmp_path / "bad.msgpack"
    tracemalloc.start()
    try:
        for data in claims:
            path.write_bytes(data)
            with pytest.raises(WeightsError):
                convgru.read(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["flip", "drop", "insert"])
def test_any_damage(kind, good, tmp_path):
    """A changed byte gives WeightsError or valid weights; a lost or added one is always refused."""
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.msgpack"
    refused = 0
    for _ in range(200):
        position, byte = int(rng.integers(len(good))), rng.bytes(1)
        rest = {"flip": good[position + 1 :], "drop": good[position + 1 :], "insert": good[position:]}[kind]
        path.write_bytes(good[:position] + (b"" if kind == "drop" else byte) + rest)
        try:
            found = convgru.read(path)
        except WeightsError:
            refused += 1
        else:
            assert kind == "flip"
            assert set(found.arrays) == set(NAMES)
    assert refused > 50


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        convgru.read(tmp_path / "none.msgpack")


def test_failed_write_leaves_the_old_file(good, weights, tmp_path, monkeypatch):
    path = tmp_path / "good.msgpack"
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        checkpoint.write(weights(network("rnn", 1, 1)), path)
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]
