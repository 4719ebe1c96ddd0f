"""Anybody's Flax checkpoints: the goldens' msgpack files, orbax folders, untrusted bytes."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
from flax import nnx, serialization

import convgru
from convgru import flax, reference
from convgru.errors import WeightsError
from convgru_flax import checkpoint

ocp = pytest.importorskip("orbax.checkpoint")
FOLDER = Path(__file__).resolve().parents[1] / "goldens" / "foreign"
NAMES = sorted(path.stem for path in FOLDER.glob("flax_*.msgpack"))


def tree(name="flax_convlstm2d"):
    return serialization.msgpack_restore((FOLDER / f"{name}.msgpack").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_gives_the_originals_numbers(name):
    with np.load(FOLDER / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    lengths = json.loads(str(arrays["meta"]))["lengths"]
    weights = convgru.read(FOLDER / f"{name}.msgpack")
    y, _ = reference.run(weights, arrays["x"].astype(np.float64), lengths=lengths)
    for sample, length in enumerate(lengths or [None] * y.shape[1]):  # past the end ours are zero, theirs are not
        assert np.abs(y[:length, sample] - arrays["h"][:length, sample]).max() <= 1e-5


@pytest.mark.parametrize("kind", ["PyTreeCheckpointer", "StandardCheckpointer", "CheckpointManager"])
def test_orbax(tmp_path, kind):
    state = {**tree(), "opt_state": [{"mu": tree()}], "step": 3}
    if kind == "CheckpointManager":
        with ocp.CheckpointManager(tmp_path / "w") as manager:
            manager.save(5, args=ocp.args.StandardSave(state))
    else:
        with getattr(ocp, kind)() as checkpointer:
            checkpointer.save(tmp_path / "w", state)
    assert convgru.read(tmp_path / "w").equal(convgru.read(FOLDER / "flax_convlstm2d.msgpack"))


def test_an_nnx_state_of_our_own_module(tmp_path):
    """As Flax's guide saves it, alone or inside a user's module; the spec is not saved with it."""

    class Model(nnx.Module):
        def __init__(self, net):
            self.net, self.head = net, nnx.Linear(4, 1, rngs=nnx.Rngs(0))

    net = flax.ConvLSTM(2, [3, 4], bidirectional=True, merge="sum", dropout=0.2, norm=1, rngs=nnx.Rngs(0))
    hints = {"layout": "convgru", "norm": 1, "merge": "sum", "dropout": 0.2, "bidirectional": True}
    for name, state in (("whole", nnx.state(net)), ("in", nnx.state(Model(net))), ("bare", pure(net))):
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / name, state)
        found = convgru.read(tmp_path / name, prefix="net" if name == "in" else None, **hints)
        assert found.equal(convgru.extract(net))
    (tmp_path / "bare.msgpack").write_bytes(serialization.msgpack_serialize(pure(net)))
    assert convgru.read(tmp_path / "bare.msgpack", **hints).equal(convgru.extract(net))
    with pytest.raises(WeightsError, match="come without the spec that belongs to them"):
        convgru.read(tmp_path / "whole")


def pure(net):
    return nnx.to_pure_dict(nnx.state(net, nnx.Param))


def test_orbax_of_several_steps_and_a_folder_of_nothing(tmp_path):
    with ocp.CheckpointManager(tmp_path / "w") as manager:
        for step in (1, 2):
            manager.save(step, args=ocp.args.StandardSave(tree()))
    with pytest.raises(WeightsError, match=r"several checkpoints, read one: 1/default, 2/default"):
        convgru.read(tmp_path / "w")
    assert convgru.read(tmp_path / "w" / "2").spec.title == "ConvLSTM"
    (tmp_path / "none").mkdir()
    with pytest.raises(WeightsError, match=r"none: not a folder of orbax .* got none"):
        convgru.read(tmp_path / "none")


def test_orbax_that_is_damaged_or_claims_much(tmp_path):
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "zeros", {"a": jnp.zeros((1 << 12, 1 << 13))})  # 128 MiB that compress to nothing
        checkpointer.save(tmp_path / "cut", tree())
    with pytest.raises(WeightsError, match=r"zeros: .* expected arrays of at most"):
        convgru.read(tmp_path / "zeros")
    for file in sorted((tmp_path / "cut").rglob("*")):
        if file.is_file():
            good = file.read_bytes()
            file.write_bytes(good[: len(good) // 2])
    with pytest.raises(WeightsError, match="cut: not a folder of orbax"):
        convgru.read(tmp_path / "cut")


FAILED_READS = """
import sys
from pathlib import Path
import convgru
for folder in sorted(Path(sys.argv[1]).iterdir()):
    try:
        convgru.read(folder)
    except convgru.WeightsError as error:
        print(folder.name, "not a folder of orbax" in str(error))
"""


def test_a_failed_read_of_orbax_writes_nothing_to_stderr(tmp_path):
    """Neither its log, nor the tracebacks of the arrays that were being read beside the bad one."""
    many = {f"a{i}": {"w": np.random.default_rng(i).random((64, 64), np.float32)} for i in range(8)}
    for name, options in (("one", {}), ("each", {"use_ocdbt": False})):
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)).save(tmp_path / name, many)
    for file in ("one/_CHECKPOINT_METADATA", "one/manifest.ocdbt", "each/a3.w/0.0"):
        path = tmp_path / file
        path.write_bytes(path.read_bytes()[:20])
    result = subprocess.run(
        [sys.executable, "-c", FAILED_READS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert result.stdout.split() == ["each", "True", "one", "True"]
    assert result.stderr == ""


def test_a_train_state_leaves_the_optimiser_alone(tmp_path):
    state = {
        "step": 7,
        "params": tree()["params"],
        "opt_state": {"0": {"mu": tree()["params"], "count": np.int32(3)}},
        "name": "x",
    }
    (tmp_path / "w.msgpack").write_bytes(serialization.msgpack_serialize(state))
    assert convgru.read(tmp_path / "w.msgpack").equal(convgru.read(FOLDER / "flax_convlstm2d.msgpack"))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int8", "bool"])
def test_every_dtype(tmp_path, dtype):
    array = np.asarray(jnp.arange(6).reshape(2, 3), "float32").astype(jnp.dtype(dtype))
    (tmp_path / "w.msgpack").write_bytes(serialization.msgpack_serialize({"a": {"b": array}, "c": 1.5, "d": 1 + 2j}))
    found = checkpoint.contents(tmp_path / "w.msgpack").arrays
    assert list(found) == ["a/b"]
    assert found["a/b"].dtype == array.dtype
    assert (found["a/b"] == array).all()


def test_an_array_in_chunks(tmp_path):
    array = np.arange(10, dtype=np.float32)
    told = {"__msgpack_chunked_array__": True, "shape": {"0": 2, "1": 5}, "chunks": {"0": array[:4], "1": array[4:]}}
    (tmp_path / "w.msgpack").write_bytes(serialization.msgpack_serialize({"a": told}))
    assert (checkpoint.contents(tmp_path / "w.msgpack").arrays["a"] == array.reshape(2, 5)).all()


def array(shape, dtype, data, code=1):
    return msgpack.packb({"a": msgpack.ExtType(code, msgpack.packb((shape, dtype, data)))})


HOSTILE = {
    "empty": b"",
    "text": b"hello, world",
    "a list": msgpack.packb([1, 2]),
    "cut": (FOLDER / "flax_convlstm1d.msgpack").read_bytes()[:-9],
    "more after the end": msgpack.packb({}) + b"\0",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "a list of 4 billion": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "lists of 4 billion inside each other": b"\x81\xa1a" + b"\xdd\x00\x0f\xff\xff" * 500,
    "lists of a million": b"\x81\xa1a" + b"\xdd\x00\x0f\xff\xff" * 500 + bytes(1 << 20),
    "a text of 4 billion": b"\x81\xdb\xff\xff\xff\xff",
    "bytes of 4 billion": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "an extension of 4 billion": b"\x81\xa1a\xc9\xff\xff\xff\xff\x01",
    "an extension of another kind": msgpack.packb({"a": msgpack.ExtType(9, b"x")}),
    "an extension in an extension": msgpack.packb(
        {"a": msgpack.ExtType(1, msgpack.packb(([1], msgpack.ExtType(1, b""), b"")))}
    ),
    "deep maps": b"\x81\xa1a" * 100_000,
    "deep maps that end": b"\x81\xa1a" * 500 + b"\xc0",
    "a name twice": b"\x82\xa1a\x01\xa1a\x02",
    "one name as number and text": b"\x82\x01\x01\xa11\x02",
    "a shape larger than its numbers": array([1 << 20, 1 << 20], "float32", bytes(4)),
    "a shape below zero": array([-1], "float32", b""),
    "a shape of text": array("12", "float32", b""),
    "a shape of many axes": array([1] * 64, "float32", bytes(4)),
    "a shape that no array has": array([0, 1 << 62, 1 << 62], "float32", b""),
    "objects": array([1], "object", bytes(8)),
    "records": array([1], "f4,f4", bytes(8)),
    "no dtype": array([1], 4, bytes(8)),
    "an array of two parts": msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(([1], "float32")))}),
    "a scalar that is none": array([7], "float32", bytes(4), 3),
    "chunks that do not fit": serialization.msgpack_serialize(
        {"a": {"__msgpack_chunked_array__": True, "shape": {"0": 1 << 40}, "chunks": {"0": np.zeros(3)}}}
    ),
    "chunks of nothing": serialization.msgpack_serialize({"a": {"__msgpack_chunked_array__": True}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_weights_errors_and_take_no_memory(tmp_path, name):
    path = tmp_path / "bad.msgpack"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=r"bad\.msgpack: "):
            convgru.read(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_and_no_file(tmp_path):
    os.mkfifo(tmp_path / "w.msgpack")
    with pytest.raises(WeightsError, match="pipe"):
        convgru.read(tmp_path / "w.msgpack")
    with pytest.raises(FileNotFoundError):
        convgru.read(tmp_path / "none.msgpack")
