"""Checkpoint files: MindSpore's own loader reads ours, ours refuses whatever is not ours."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import mindspore as ms
import ml_dtypes
import numpy as np
import pytest
from mindspore.train.checkpoint_pb2 import Checkpoint

import convgru
import convgru.mindspore as cm
from convgru.errors import UnsupportedError, WeightsError
from convgru.initialization import init
from convgru.spec import forecaster, network
from convgru_mindspore import backend, checkpoint


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_round_trip_is_byte_equal(named: Any, dtype: str, tmp_path: Path) -> None:
    weights = named(dtype).weights
    path = tmp_path / "net.ckpt"
    for _ in range(2):  # the second time over the first
        checkpoint.write(weights, path)
        assert convgru.read(path).equal(weights)
    assert [p.name for p in tmp_path.iterdir()] == ["net.ckpt"]
    assert path.stat().st_mode & 0o200, "MindSpore leaves its files read-only; ours can be written again"


def test_an_array_longer_than_mindspores_pieces(tmp_path: Path) -> None:
    weights = init(network("gru", 64, 64, 5), 0, "float64")
    assert max(a.nbytes for a in weights.arrays.values()) > 2 * 512 * 1024
    checkpoint.write(weights, tmp_path / "net.ckpt")
    assert convgru.read(tmp_path / "net.ckpt").equal(weights)


def test_the_bytes_are_those_of_mindspores_own_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = init(forecaster("gru", 1, [4, 3], patch=2), 5, "float16")
    for arrays, piece in ((weights.arrays, 512 << 20), ({"a": np.zeros((5, 7)), "b": np.ones(3, "f4")}, 64)):
        monkeypatch.setattr(checkpoint, "PIECE", piece)
        checkpoint.write_arrays(arrays, tmp_path / "a.ckpt", {"note": "text é"})
        entries = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
        ms.save_checkpoint(entries, str(tmp_path / "b.ckpt"), append_dict={"note": "text é"}, crc_check=True)
        if piece > 64:
            assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()
        held = ms.load_checkpoint(str(tmp_path / "a.ckpt"), crc_check=True)
        assert held.pop("note") == "text é"
        assert {name: tensor.asnumpy().tobytes() for name, tensor in held.items()} == {
            name: array.tobytes() for name, array in arrays.items()
        }


def test_mindspores_own_loader_reads_it(tmp_path: Path) -> None:
    weights = init(forecaster("gru", 1, [4, 3], patch=2), 5)
    checkpoint.write(weights, tmp_path / "net.ckpt")
    entries = ms.load_checkpoint(str(tmp_path / "net.ckpt"), crc_check=True)
    net = cm.Forecaster("gru", 1, [4, 3], patch=2)
    spec = entries.pop(checkpoint.KEY)
    assert isinstance(spec, str)
    assert ms.load_param_into_net(net, entries, strict_load=True) == ([], [])
    assert backend.extract(net).equal(weights)


def test_a_checkpoint_of_a_users_own_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "own.ckpt"
    ms.save_checkpoint(cm.ConvGRU(2, 3), str(path))
    with pytest.raises(WeightsError, match=r"own\.ckpt: the arrays have convgru's names, but come without the spec"):
        convgru.read(path)


def test_bfloat16_is_refused(tmp_path: Path) -> None:
    weights = init(network("gru", 2, 3), 0, "bfloat16")
    path = tmp_path / "net.ckpt"
    with pytest.raises(UnsupportedError, match="bfloat16"):
        checkpoint.write(weights, path)
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.ckpt"
    old = init(network("gru", 2, 3), 0)
    checkpoint.write(old, path)

    def fail(*_: Any) -> Any:
        yield b"half"
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "_pieces", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(init(network("gru", 2, 3), 1), path)
    assert convgru.read(path).equal(old)
    assert [p.name for p in tmp_path.iterdir()] == ["net.ckpt"]


def rewritten(content: bytes, change: Any) -> bytes:
    """The message with its entries changed, without a checksum."""
    message = Checkpoint.FromString(content[:-17])
    change(message.value)
    return bytes(message.SerializeToString())


def entry(values: Any, tag: str) -> Any:
    """The entry of this name."""
    return next(value for value in values if value.tag == tag)


BIAS = "layers.0.fwd.bias"


def stretch(values: Any) -> None:
    entry(values, BIAS).tensor.dims[:] = [2**40]


def negative(values: Any) -> None:
    entry(values, BIAS).tensor.dims[:] = [-9]


def shorten(values: Any) -> None:
    held = entry(values, BIAS).tensor
    held.tensor_content = held.tensor_content[:-4]


def strange_type(values: Any) -> None:
    entry(values, BIAS).tensor.tensor_type = "Int32"


def mixed_type(values: Any) -> None:
    held = entry(values, BIAS).tensor
    held.tensor_type, held.tensor_content = "Float64", bytes(8 * held.dims[0])


def rename(values: Any) -> None:
    entry(values, BIAS).tag = "layers.0.fwd.bais"


def repeat(values: Any) -> None:
    values.add().CopyFrom(entry(values, BIAS))


def not_finite(values: Any) -> None:
    held = entry(values, BIAS).tensor
    held.tensor_content = np.full(held.dims[0], np.nan, np.float32).tobytes()


def other_spec(values: Any) -> None:
    held = entry(values, checkpoint.KEY).tensor
    held.tensor_content = held.tensor_content.decode("utf-32-le").replace("gru", "gnu").encode("utf-32-le")


def no_text(values: Any) -> None:
    entry(values, checkpoint.KEY).tensor.tensor_content = b"\xff" * 8


def no_tensor(values: Any) -> None:
    entry(values, BIAS).ClearField("tensor")


HOSTILE = {
    stretch: "layers.0.fwd.bias expected shape (9,), got (1099511627776,)",
    negative: "layers.0.fwd.bias expected shape (9,), got (-9,)",
    shorten: "layers.0.fwd.bias of shape (9,) expected 36 bytes, got 32",
    strange_type: "layers.0.fwd.bias expected one of Float64, Float32, Float16, got 'Int32'",
    mixed_type: "expected one dtype for all arrays, got float32, float64",
    rename: "missing layers.0.fwd.bias; unexpected layers.0.fwd.bais",
    repeat: "the entry 'layers.0.fwd.bias' is there twice",
    not_finite: "layers.0.fwd.bias expected finite numbers, got 9 of 9 that are not",
    other_spec: "'gnu'",
    no_text: "is not a MindSpore checkpoint that convgru can read",
    no_tensor: "layers.0.fwd.bias expected one of Float64, Float32, Float16, got ''",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_hostile_entries(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.ckpt"
    checkpoint.write(init(network("gru", 2, 3), 0), path)
    path.write_bytes(rewritten(path.read_bytes(), change))
    with pytest.raises(WeightsError) as caught:
        convgru.read(path)
    assert "net.ckpt" in str(caught.value)
    assert HOSTILE[change] in str(caught.value)


def test_without_a_checksum_it_reads(tmp_path: Path) -> None:
    path, weights = tmp_path / "net.ckpt", init(network("gru", 2, 3), 0)
    checkpoint.write(weights, path)
    path.write_bytes(rewritten(path.read_bytes(), lambda values: None))
    assert convgru.read(path).equal(weights)


def test_damage_anywhere_is_a_weights_error(tmp_path: Path) -> None:
    path = tmp_path / "net.ckpt"
    checkpoint.write(init(network("lstm", 2, 3), 0), path)
    whole = path.read_bytes()
    draw = random.Random(0)
    for attempt in range(200):
        damaged = bytearray(whole[: draw.randrange(len(whole))] if attempt % 3 == 0 else whole)
        if attempt % 3 == 1:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        elif attempt % 3 == 2:
            damaged = bytearray(draw.randbytes(draw.randrange(300)))
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"net\.ckpt"):
            checkpoint.contents(path).network(None)


def test_no_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        convgru.read(tmp_path / "none.ckpt")


def test_bfloat16_does_not_build() -> None:
    with pytest.raises(UnsupportedError, match="MindSpore does not compute in bfloat16 on CPU"):
        backend.build(init(network("gru", 2, 3), 0, "bfloat16"))
    x = np.zeros((1, 1, 2, 4, 4), ml_dtypes.bfloat16)
    with pytest.raises(UnsupportedError, match="MindSpore does not compute in bfloat16 on CPU"):
        backend.execute(init(network("gru", 2, 3), 0, "bfloat16"), x)


LSTM = {
    "cell_list.0.conv.weight": np.ones((8, 3, 3, 3), np.float32),
    "cell_list.0.conv.bias": np.arange(8, dtype=np.float32),
}
"""A network of ConvLSTM_pytorch's."""


def native_checkpoint(path: Path, arrays: dict[str, np.ndarray], **more: Any) -> Path:
    ms.save_checkpoint(
        [{"name": n, "data": ms.Tensor(a)} for n, a in arrays.items()], str(path), append_dict=more or None
    )
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_checkpoint_of_another_program(tmp_path: Path, dtype: str) -> None:
    arrays = {name: array.astype(dtype) for name, array in LSTM.items()}
    moments = {f"{moment}.{name}": array * 2 for name, array in arrays.items() for moment in ("moments", "moment1")}
    others = {"global_step": np.array(3, np.int32), "head.weight": np.ones((2, 2), np.float32)}
    prefixed = {**{f"net.{name}": array for name, array in arrays.items()}, **others}
    prefixed |= {name.replace(".", ".net.", 1): array for name, array in moments.items()}
    path = native_checkpoint(tmp_path / "w.ckpt", prefixed, epoch=3, lr=0.1, note="text")
    arrays_read = checkpoint.contents(path).arrays
    assert set(arrays_read) >= {f"net.{name}" for name in arrays}
    assert not [name for name in arrays_read if name.startswith("moment")]
    assert convgru.read(path).equal(convgru.adopt(arrays))


def test_ours_is_ours_through_contents_too(tmp_path: Path) -> None:
    weights = init(network("gru", 2, 3), 0)
    checkpoint.write(weights, tmp_path / "net.ckpt")
    assert convgru.read(tmp_path / "net.ckpt").equal(weights)
    assert list(checkpoint.contents(tmp_path / "net.ckpt").specs) == [""]


SOMEBODYS = {
    stretch: "bytes, got 36",
    negative: "got 36",
    shorten: "expected 36 bytes, got 32",
    repeat: "is there twice",
}


@pytest.mark.parametrize("change", SOMEBODYS, ids=lambda change: change.__name__)
def test_hostile_entries_of_somebodys(tmp_path: Path, change: Any) -> None:
    path = native_checkpoint(tmp_path / "w.ckpt", {BIAS: np.ones(9, np.float32), "other": np.ones(2, np.float32)})
    message = Checkpoint.FromString(path.read_bytes())
    change(message.value)
    path.write_bytes(message.SerializeToString())
    with pytest.raises(WeightsError, match=r"w\.ckpt") as caught:
        checkpoint.contents(path)
    assert SOMEBODYS[change] in str(caught.value)


@pytest.mark.parametrize("data", [b"\n", b"\n\xff\xff\xff\xff\x0f", b"\n" * 1000, b"hello", b"\n\x04\n\x02ab"])
def test_bytes_that_are_no_checkpoint(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.ckpt").write_bytes(data)
    with pytest.raises(WeightsError, match=r"w\.ckpt"):
        convgru.read(tmp_path / "w.ckpt")


def test_more_entries_than_any_network_has(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    path.write_bytes(b"".join(b"\n\x09\n\x05%05d\x12\x00" % i for i in range(checkpoint.MAX_ENTRIES + 1)))
    with pytest.raises(WeightsError, match="at most 20000 entries, got more"):
        checkpoint.contents(path)
