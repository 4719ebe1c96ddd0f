"""Anybody's .pt files: what trainers nest and wrappers rename is found, and what would cost memory is refused before it does."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from functools import reduce

import numpy as np
import pytest
import torch
from torch import nn

import convgru
from convgru import WeightsError
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster
from convgru_torch import files


def other(seed=0):
    """A state dict of ConvLSTM_pytorch's."""
    torch.manual_seed(seed)
    return {"cell_list.0.conv.weight": torch.randn(12, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(12)}


def named(start, state):
    return {start + name: value for name, value in state.items()}


@pytest.fixture
def saved(tmp_path):
    def save(thing, name="net.pt", **options):
        torch.save(thing, tmp_path / name, **options)
        return tmp_path / name

    return save


ADAM = torch.optim.Adam(nn.Linear(2, 2).parameters()).state_dict()
NESTED = {
    "as it is": other(),
    "lightning": {
        "state_dict": named("net.", other()),
        "epoch": 3,
        "optimizer_states": [ADAM],
        "hyper_parameters": {"lr": 0.1},
    },
    "model": {"model": other(), "optimizer": ADAM, "lr_scheduler": {"x": torch.zeros(2)}},
    "model_state_dict": {"model_state_dict": other(), "optimizer_state_dict": ADAM, "loss": torch.tensor(1.0)},
    "net and params": {"net": {"params": other()}},
    "e2vid": {"arch": "E2VIDRecurrent", "epoch": 1, "model": {"num_bins": 5}, "state_dict": other()},
    "optimiser by name": {"model": other(), "optim": {"state": named("exp_avg.", other(1))}},
    "data parallel": named("module.", other()),
    "compiled": named("_orig_mod.", other()),
    "compiled inside": named("net._orig_mod.", other()),
    "both, in lightning": {"state_dict": named("model.module._orig_mod.", other())},
    "fsdp": named("_fsdp_wrapped_module.net._checkpoint_wrapped_module.", other()),
    "averaged": {"n_averaged": torch.tensor(3), **named("module.", other())},
    "parameters": {name: nn.Parameter(value) for name, value in other().items()},
    "ordered": OrderedDict(other()),
    "strangers": {
        **named("lstm.", other()),
        "head.weight": torch.ones(3, 3),
        "n": torch.tensor(1),
        "c": Counter([1]),
        "t": "x",
    },
    "strange numbers": {
        **named("net.", other()),
        "a": torch.zeros(3).to(torch.float8_e4m3fn),
        "b": torch.zeros(2).cfloat(),
    },
    "halves of one storage": {n: torch.stack([v, v])[1] for n, v in other().items()},
    "transposed": {n: v.transpose(0, -1).contiguous().transpose(0, -1) for n, v in other().items()},
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pth.tar"])
def test_somebodys_checkpoint(saved, name, suffix):
    want = convgru.adopt(other())
    assert convgru.read(saved(NESTED[name], f"net{suffix}")).equal(want)


@pytest.mark.parametrize("name", ["as it is", "lightning", "data parallel"])
def test_the_old_serialisation(saved, name):
    assert convgru.read(saved(NESTED[name], _use_new_zipfile_serialization=False)).equal(convgru.adopt(other()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_dtype(saved, dtype):
    found = convgru.read(saved({name: value.to(dtype) for name, value in other().items()}))
    assert str(found.dtype) == str(dtype).removeprefix("torch.")
    assert (
        found.arrays["layers.0.fwd.bias"][:3] == other()["cell_list.0.conv.bias"].to(dtype)[:3].float().numpy()
    ).all()


def test_an_average_of_the_weights_is_not_chosen_in_silence(saved):
    path = saved({"state_dict": other(), "ema_state_dict": other(1)})
    assert set(files.contents(path).arrays) == {f"{k}.{n}" for k in ("state_dict", "ema_state_dict") for n in other()}
    with pytest.raises(WeightsError):
        convgru.read(path)
    assert convgru.read(path, prefix="ema_state_dict.").equal(convgru.adopt(other(1)))
    assert convgru.read(path, prefix="state_dict.").equal(convgru.adopt(other()))


def test_one_state_dict_under_two_keys_is_one(saved):
    state = other()
    assert convgru.read(saved({"model": state, "best": state})).equal(convgru.adopt(state))


def test_a_state_dict_that_holds_itself(saved):
    state = other()
    state["again"] = state
    assert convgru.read(saved(state)).equal(convgru.adopt(other()))


class Pair(nn.Module):
    """Two networks in one model."""

    def __init__(self):
        super().__init__()
        self.first, self.second = ConvGRU(2, 3), ConvLSTM(2, [3, 4])


def test_several_networks_of_ours_are_chosen_by_prefix(saved):
    net = Pair()
    path = saved({"state_dict": net.state_dict(), "epoch": 3})
    with pytest.raises(WeightsError, match=r"choose by prefix= of 'first\.', 'second\.'"):
        convgru.read(path)
    with pytest.raises(WeightsError, match=r"begin with 'third', only 'first\.', 'second\.'"):
        convgru.read(path, prefix="third")
    for prefix in ("first", "first."):
        assert convgru.read(path, prefix=prefix).equal(convgru.extract(net.first))
    assert convgru.read(path, prefix="second").equal(convgru.extract(net.second))


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, torch.compile, lambda net: nn.Sequential(nn.Conv2d(1, 1, 1), nn.DataParallel(net))]
)
@pytest.mark.parametrize("make", [lambda: ConvGRU(2, 3), lambda: Forecaster("lstm", 1, 2), lambda: ConvGRUCell(2, 3)])
def test_ours_through_wrappers(saved, wrap, make):
    net = make()
    for state in (wrap(net).state_dict(), {"state_dict": wrap(net).state_dict()}):
        assert convgru.read(saved(state)).equal(convgru.extract(net))


def test_ours_whose_metadata_were_lost(saved):
    net = ConvGRU(2, [3, 4], dilation=2)
    path = saved({"state_dict": dict(named("module.", net.state_dict()))})
    with pytest.raises(WeightsError, match="layout='convgru' reads them"):
        convgru.read(path)
    assert convgru.read(path, "convgru", dilation=2).equal(convgru.extract(net))


def test_what_is_read_shares_nothing_with_the_file(saved):
    path = saved(ConvGRU(2, 3).state_dict())
    first = convgru.read(path)
    first.arrays["layers.0.fwd.bias"][:] = 7
    assert not (convgru.read(path).arrays["layers.0.fwd.bias"] == 7).any()


def test_a_ckpt_that_is_neither(tmp_path):
    (tmp_path / "w.ckpt").write_bytes(b"hello")
    try:
        convgru.registry.get("mindspore")
    except ImportError:
        with pytest.raises(ImportError, match=r"convgru\[mindspore\]"):
            convgru.read(tmp_path / "w.ckpt")
    else:
        with pytest.raises(WeightsError, match=r"w\.ckpt"):
            convgru.read(tmp_path / "w.ckpt")


def repacked(change=lambda name, data: data, thing=None, more=(), **options):
    """A file as torch wrote it, its entries changed."""
    buffer, out = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(4)} if thing is None else thing, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(out, "w", **options) as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename.partition("/")[2], old.read(info)))
        for name, data in more:
            new.writestr(name, data)
    return out.getvalue()


def pickled(code):
    """A file whose pickle is this."""
    return repacked(lambda name, data: code if name == "data.pkl" else data)


def swap(old, new):
    """A file in whose pickle some bytes are others."""

    def change(name, data):
        assert name != "data.pkl" or old in data
        return data.replace(old, new) if name == "data.pkl" else data

    return repacked(change)


def legacy(change):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer, _use_new_zipfile_serialization=False)
    return change(buffer.getvalue())


class Run:
    """What a pickle can carry: unpickled in earnest, it would make a directory."""

    def __reduce__(self):
        return os.mkdir, ("convgru-was-here",)


MANY = b"\x8a\x06\x00\x00\x00\x00\x00\x10"  # 2**44, as pickle writes it
LAUGHS = b"\x80\x02(" + b"U\x01a" + b"t" + b"".join(b"q%c(h%ch%ct" % (i, i, i) for i in range(60)) + b"."
CALL = b"\x80\x02}U\x01ac%s\n%s\n%s\x85Rs."
HOSTILE = {
    "empty": b"",
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "a zip begun": b"PK\x03\x04" + bytes(60),
    "code": repacked(thing={"a": Run()}),
    "code in the old way": pickle.dumps({"a": Run()}),
    "code beside tensors": repacked(thing={"a": torch.zeros(3), "b": {"c": [Run()]}}),
    "eval": pickled(CALL % (b"builtins", b"eval", b"U\x011")),
    "a bomb, deflated": repacked(more=[("archive/data/9", bytes(1 << 28))], compression=zipfile.ZIP_DEFLATED),
    "deflated at all": repacked(compression=zipfile.ZIP_DEFLATED),
    "two pickles": repacked(more=[("archive/x/data.pkl", b"\x80\x02}.")]),
    "no pickle": repacked().replace(b"data.pkl", b"data.pkk"),
    "bytes of any length": pickled(CALL % (b"builtins", b"bytearray", MANY)),
    "bytes of any length, in Python 2": pickled(CALL % (b"__builtin__", b"bytearray", MANY)),
    "bytes of any length, by an opcode": pickled(b"\x80\x05}U\x01a\x96" + (2**44).to_bytes(8, "little") + b"s."),
    "text of any length": pickled(b"\x80\x04}U\x01a\x8d" + (2**44).to_bytes(8, "little") + b"s."),
    "a frame of any length": pickled(b"\x80\x04\x95" + (2**44).to_bytes(8, "little") + b"}."),
    "a memo of any length": pickled(b"\x80\x02}r\xff\xff\xff\x7f}r\xff\xff\xff\xff."),
    "bytes encoded again and again": pickled(CALL % (b"_codecs", b"encode", b"U\x01aU\x03hex")),
    "a storage longer than its entry": swap(b"K\x04t", MANY + b"t"),
    "a storage shorter than zero": swap(b"K\x04t", b"J\xff\xff\xff\xfft"),
    "a storage of no entry": swap(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x007"),
    "a storage elsewhere": swap(b"X\x01\x00\x00\x000", b"X\x0e\x00\x00\x00../../etc/passw"),
    "a storage of no kind": swap(b"FloatStorage", b"FloutStorage"),
    "a shape larger than its storage": swap(b"K\x04\x85", MANY + b"\x85"),
    "a shape of many axes": swap(b"K\x04\x85", b"(" + b"K\x01" * 4000 + b"t"),
    "a shape below zero": swap(b"K\x04\x85", b"J\xfc\xff\xff\xff\x85"),
    "a stride below zero": swap(b"K\x01\x85", b"J\xff\xff\xff\xff\x85"),
    "a stride beyond the end": swap(b"K\x01\x85", MANY + b"\x85"),
    "an offset beyond the end": swap(b"QK\x00", b"QK\x04"),
    "one number for all": repacked(thing={"a": torch.zeros(1).expand(1 << 40)}),
    "sparse": repacked(thing={"a": torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,))}),
    "compressed rows": repacked(thing={"a": torch.eye(3).to_sparse_csr()}),
    "without numbers": repacked(thing={"a": torch.zeros(1 << 40, device="meta")}),
    "nested and shared": pickled(LAUGHS),
    "deep lists": pickled(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "deep state dicts": repacked(thing=reduce(lambda inner, _: {"a": inner}, range(400), {"b": torch.zeros(1)})),
    "nothing": repacked(thing={}),
    "no tensors": repacked(thing={"a": 1, "b": {"c": "d"}}),
    "a list": repacked(thing=[torch.zeros(1)]),
    "a whole module": repacked(thing=nn.Conv2d(1, 1, 1)),
    "old, cut": legacy(lambda data: data[:-40]),
    "old, a storage longer than the file": legacy(lambda data: data.replace(b"K\x04Nt", MANY + b"Nt")),
    "old, a shape larger than its storage": legacy(lambda data: data.replace(b"K\x04\x85", MANY + b"\x85")),
}
LIMITED = """
import resource, sys
import torch, convgru
from convgru_torch import files
held = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (held + (300 << 20),) * 2)
for path in sys.argv[1:]:
    try:
        files.contents(__import__("pathlib").Path(path))
    except convgru.WeightsError as error:
        assert "emory" not in str(error), error
    else:
        raise SystemExit(path)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(WeightsError, match=r"bad\.pt: "):
        convgru.read(path)
    assert os.listdir(tmp_path) == ["bad.pt"]  # and nothing was executed


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set by Linux' means")
def test_hostile_files_within_300_megabytes(tmp_path):
    paths = []
    for index, data in enumerate(HOSTILE.values()):
        paths.append(str(tmp_path / f"{index}.pt"))
        (tmp_path / f"{index}.pt").write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


def test_many_views_of_one_storage_take_no_memory(saved):
    numbers = torch.zeros(1 << 20)
    found = files.contents(saved({f"{i}.weight": numbers.view(1 << 10, 1 << 10) for i in range(3000)}))
    assert len(found.arrays) == 3000
    assert len({array.__array_interface__["data"][0] for array in found.arrays.values()}) == 1
    assert all(np.shares_memory(array, found.arrays["0.weight"]) for array in list(found.arrays.values())[:5])
