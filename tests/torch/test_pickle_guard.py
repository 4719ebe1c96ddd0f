"""Hostile .pt files: WeightsError, nothing executed, and no more memory than they are worth."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from functools import reduce

import pytest
import torch
from torch import nn

import convgru
from convgru import WeightsError


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


class Call:
    """A pickle that calls what it names, and hands the result its state."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


def called(*parts):
    return repacked(thing={"a": torch.zeros(4), "b": Call(*parts)})


V2 = torch._utils._rebuild_tensor_v2
ANEW = torch._tensor._rebuild_from_type_v2
FOUR = torch.zeros(4).storage()
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
    "a tensor by its class": called(torch.Tensor, (1 << 38,)),
    "a tensor by its older class": called(torch.HalfTensor, (1 << 38,)),
    "a sparse tensor by its class": called(torch.sparse.FloatTensor, (1 << 38,)),
    "a storage by its class": called(torch.UntypedStorage, (1 << 38,)),
    "a tensor whose state is larger": called(torch.Tensor, (), (FOUR, 0, (1 << 38,), (1,))),
    "a tensor by its class, inside": called(ANEW, (torch.Tensor, torch.Tensor, (1 << 38,), {})),
    "a shape larger than its storage, inside": called(ANEW, (V2, torch.Tensor, (FOUR, 0, (9,), (1,), False, {}), {})),
    "a tensor that says otherwise": called(ANEW, (V2, torch.Tensor, (FOUR, 0, (4,), (1,), False, {}), {"numel": set})),
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
from convgru_torch import checkpoint
held = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (held + (300 << 20),) * 2)
for path in sys.argv[1:]:
    try:
        checkpoint.contents(__import__("pathlib").Path(path))
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
