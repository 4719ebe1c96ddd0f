"""Hostile .pt files: WeightsError, nothing executed, and no more memory than they are worth."""

import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import deque
from functools import reduce

import pytest
import torch
from torch import nn

import convgru
from convgru import WeightsError
from convgru_torch import pickle_guard


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


def two_lengths(name, data):
    """Two tensors of one storage, which torch makes for the first, and lengthens for the second."""
    if name != "data.pkl":
        return data
    shorter = data.replace(b"K\x08t", b"K\x04t", 1).replace(b"K\x08\x85", b"K\x04\x85", 1)
    assert shorter.count(b"K\x04") == 2
    return shorter.replace(b"X\x01\x00\x00\x001", b"X\x01\x00\x00\x000")


def marked_as_a_folder():
    """An archive whose numbers are marked as a folder: torch reads nothing, and says nothing."""
    data = bytearray(repacked())
    entry = data.index(b"archive/data/0", data.index(b"PK\x01\x02")) - 46
    data[entry + 38 : entry + 42] = (0x10).to_bytes(4, "little")
    return bytes(data)


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


def old_keys(pickled):
    """A file of torch before 1.6 whose fifth pickle, the keys of its storages, is another."""

    def change(data):
        file, ends = io.BytesIO(data), []
        for _ in range(5):
            deque(pickletools.genops(file), maxlen=0)
            ends.append(file.tell())
        return data[: ends[3]] + pickled + data[ends[4] :]

    return legacy(change)


def tar_named_as_a_pickle():
    """A tar, as torch wrote before 0.2; by the name of its first member it begins as a pickle."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("\x80\x02}."))
    return out.getvalue()


def two_directories():
    """A file of two archives: zipfile finds the directory of the second, torch that of the first.

    Torch's holds another pickle than zipfile's. The offset in the end record is right for torch;
    zipfile concludes from it that something was put before the archive, and moves all entries.
    """

    def parts(data):
        end = data.rindex(b"PK\x05\x06")
        length, offset = struct.unpack("<II", data[end + 12 : end + 20])
        return data[:offset], bytearray(data[offset : offset + length]), bytearray(data[end:])

    pickled = CALL % (b"builtins", b"bytearray", MANY)
    first, directory, _ = parts(
        repacked(lambda name, data: pickled if name == "data.pkl" else data, more=[("archive/x", bytes(4096))])
    )
    second, moved, end = parts(repacked(more=[("archive/x", b"")]))
    assert len(moved) == len(directory)
    at = 0
    while at < len(moved):
        lengths = struct.unpack("<HHH", moved[at + 28 : at + 34])
        (offset,) = struct.unpack("<I", moved[at + 42 : at + 46])
        # Entries of the second archive, as far behind as zipfile will move them too little.
        moved[at + 42 : at + 46] = struct.pack("<I", offset + len(first) - len(second))
        at += 46 + sum(lengths)
    end[16:20] = struct.pack("<I", len(first))
    return bytes(first + directory + second + moved + end)


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
    "a key of 2**60 parts": pickled(b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s."),
    "keys of 2**60 parts, by the memo": pickled(
        b"\x80\x02})q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60)) + b"K\x01s."
    ),
    "a member of a set of 2**60 parts": pickled(b"\x80\x04\x8f()" + b"2\x86" * 60 + b"\x90."),
    "two directories": two_directories(),
    "bytes before the archive": b"PK\x03\x04" + repacked(),
    "a comment after the archive": repacked()[:-2] + b"\x04\x00text",
    "bytes between entries and directory": repacked().replace(b"PK\x01\x02", bytes(8) + b"PK\x01\x02", 1),
    "two names but for their case": repacked(more=[("archive/DATA.PKL", b"\x80\x02}.")]),
    "a storage longer than its entry": swap(b"K\x04t", MANY + b"t"),
    "a storage shorter than zero": swap(b"K\x04t", b"J\xff\xff\xff\xfft"),
    "a storage of two lengths": repacked(two_lengths, thing={"a": torch.zeros(8), "b": torch.zeros(8)}),
    "a storage that is a folder": marked_as_a_folder(),
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
    "old, bytes of any length among the keys": old_keys(CALL % (b"builtins", b"bytearray", MANY)),
    "old, a storage that no key fills": legacy(lambda data: data.replace(b"q\x01a.", b"q\x010.")),
    "old, a key whose text is of 2**60 parts": old_keys(b"\x80\x02])" + b"2\x86" * 60 + b"a."),
    "old, a tar archive": tar_named_as_a_pickle(),
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


OTHERWISE = [
    *("two directories", "bytes before the archive", "a comment after the archive"),
    *("bytes between entries and directory", "two names but for their case"),
    *("old, bytes of any length among the keys", "old, a tar archive"),
    *("old, a storage that no key fills", "a storage of two lengths", "a storage that is a folder"),
]


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_torch_would_read_otherwise_never_gets_to_torch(name):
    data = HOSTILE[name]
    with pytest.raises(ValueError, match=r"expected|twice"):
        pickle_guard.check(io.BytesIO(data), len(data))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set by Linux' means")
def test_hostile_files_within_300_megabytes(tmp_path):
    paths = []
    for index, data in enumerate(HOSTILE.values()):
        paths.append(str(tmp_path / f"{index}.pt"))
        (tmp_path / f"{index}.pt").write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
