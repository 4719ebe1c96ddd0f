""".pt files: round trips, files that torch saves, and WeightsError for hostile bytes."""

import io
import os
import pickle
import random
import stat
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import convgru
from convgru import WeightsError
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster
from convgru_torch import backend, checkpoint

SPECS = {
    "gru": convgru.network("gru", 2, [3, 2], kernel_size=[3, (2, 1)]),
    "gru-after": convgru.network("gru", 2, 3, reset="after", padding=((0, 2), 1)),
    "lstm-1d": convgru.network("lstm", 2, 3, ndim=1),
    "rnn-3d": convgru.network("rnn", 1, 2, ndim=3, bias=False, activation="relu"),
    "forecaster": convgru.forecaster("lstm", 1, 3, patch=2, residual=False),
    "both ways": convgru.network("lstm", 2, [4, 2], bidirectional=True, peephole="conv", norm=2, groups=2, stride=2),
    "updates": convgru.network("gru", 2, 3, updates=((1, 3), (3, 1)), bidirectional="stack", zoneout=0.1),
    "decoder": convgru.forecaster("gru", 1, 3, patch=2, decoder=True, feedback=False),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pt"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", SPECS)
def test_round_trip(path, name, dtype):
    weights = convgru.init(SPECS[name], 1, dtype)
    checkpoint.write(weights, path)
    assert convgru.read(path).equal(weights)
    state = torch.load(path, weights_only=True)
    assert list(state) == list(convgru.parameter_shapes(weights.spec))
    backend.module_of(weights.spec, dtype=getattr(torch, dtype)).load_state_dict(state, strict=True)


@pytest.mark.parametrize("name", SPECS)
def test_a_plain_torch_save_is_enough(path, name):
    net = backend.module_of(SPECS[name])
    torch.save(net.state_dict(), path)
    assert convgru.read(path).equal(backend.extract(net))
    assert convgru.read(path).equal(convgru.extract(net))


def test_old_serialisation_is_read(path):
    net = ConvGRU(2, 3)
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
    assert convgru.read(path).equal(backend.extract(net))


@pytest.mark.parametrize("options", [{}, {"updates": ((1, 3), (3, 1)), "norm": 1}])
def test_a_cell_and_its_spec(path, options):
    cell = ConvGRUCell(2, 3, reset="after", **options)
    torch.save(cell.state_dict(), path)
    assert convgru.read(path).equal(backend.extract(cell))


def test_a_network_inside_a_larger_model(path):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ModuleDict({"core": Forecaster("gru", 2, 3)}))
    torch.save(model.state_dict(), path)
    assert convgru.read(path).equal(backend.extract(model[1]["core"]))
    torch.save(torch.compile(ConvGRU(2, 3)).state_dict(), path)
    assert convgru.read(path).spec == ConvGRU(2, 3).spec
    torch.save(nn.ModuleList([ConvGRU(2, 3), ConvLSTM(2, 3)]).state_dict(), path)
    with pytest.raises(WeightsError, match=r"several networks, expected one: choose by prefix= of '0\.', '1\.'"):
        convgru.read(path)


def test_writing_is_whole_or_nothing(path, monkeypatch):
    weights = convgru.init(SPECS["gru"])
    checkpoint.write(weights, path)

    def fail(state, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(convgru.init(SPECS["gru"], 2), path)
    assert os.listdir(path.parent) == [path.name]
    assert convgru.read(path).equal(weights)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX files")
def test_permissions_are_those_that_users_expect(path):
    checkpoint.write(convgru.init(SPECS["gru"]), path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_missing_file_is_an_os_error(path):
    with pytest.raises(FileNotFoundError):
        convgru.read(path)


def saved(obj, **options):
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    return buffer.getvalue()


def state_of(change=None, metadata=None):
    """A good state dict, spoilt."""
    state = ConvGRU(2, 3).state_dict()
    if metadata is not None:
        state._metadata[""]["convgru"] = metadata
    if change is not None:
        change(state)
    return saved(state)


def note_of(spec):
    return {"format": 1, "spec": convgru.spec.to_json(spec)}


class Evil:
    """What a pickle can carry: unpickled in earnest, it would make a directory."""

    def __reduce__(self):
        return os.mkdir, ("convgru-was-here",)


NAME = "layers.0.fwd.bias"
BAD = {
    "empty": (b"", "not a PyTorch file"),
    "text": (b"hello" * 100, "not a PyTorch file"),
    "a zip of nothing": (b"PK\x05\x06" + bytes(18), "not a PyTorch file"),
    "a pickle": (pickle.dumps({"a": 1}), "not a PyTorch file"),
    "code": (saved(Evil()), "not a PyTorch file"),
    "code, old serialisation": (saved(Evil(), _use_new_zipfile_serialization=False), "not a PyTorch file"),
    "a bare tensor": (saved(torch.zeros(3)), "expected a state dict, got Tensor"),
    "a list": (saved([torch.zeros(3)]), "expected a state dict, got list"),
    "numbers as names": (saved({1: torch.zeros(3)}), "expected a state dict"),
    "a module": (saved(ConvGRU(2, 3)), "not a PyTorch file"),
    "no spec": (saved(dict(ConvGRU(2, 3).state_dict())), "come without the spec"),
    "spec of another kind": (state_of(metadata=7), "expected a spec of format 1"),
    "another format": (state_of(metadata={"format": 2, "spec": "{}"}), "expected a spec of format 1"),
    "spec that is no JSON": (state_of(metadata={"format": 1, "spec": "{"}), "spec"),
    "spec of nothing": (state_of(metadata={"format": 1, "spec": "{}"}), "spec"),
    "spec of a giant": (state_of(metadata=note_of(convgru.network("gru", 10**6, 10**6))), "expected shape"),
    "spec of another network": (state_of(metadata=note_of(SPECS["lstm-1d"])), "expected shape"),
    "missing": (state_of(lambda s: s.pop(NAME)), f"missing .*{NAME}"),
    "unexpected": (state_of(lambda s: s.update(extra=torch.zeros(1))), "unexpected .*extra"),
    "shape": (state_of(lambda s: s.update({NAME: torch.zeros(8)})), "expected shape"),
    "integers": (state_of(lambda s: s.update({NAME: torch.zeros(9, dtype=torch.int64)})), "int64"),
    "complex": (state_of(lambda s: s.update({NAME: torch.zeros(9, dtype=torch.complex64)})), "complex64"),
    "two dtypes": (state_of(lambda s: s.update({NAME: torch.zeros(9).double()})), "one dtype"),
    "no tensor": (state_of(lambda s: s.update({NAME: [0.0] * 9})), f"missing .*{NAME}"),
    "sparse": (state_of(lambda s: s.update({NAME: torch.zeros(9).to_sparse()})), "dense tensor"),
    "meta": (state_of(lambda s: s.update({NAME: torch.zeros(9, device="meta")})), "without numbers|not a PyTorch file"),
    "one number for all": (state_of(lambda s: s.update({NAME: torch.zeros(1).expand(9)})), "fewer numbers"),
    "not a number": (state_of(lambda s: s[NAME].fill_(float("nan"))), "finite"),
    "infinite": (state_of(lambda s: s[NAME].fill_(float("inf"))), "finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(path, name, monkeypatch):
    data, message = BAD[name]
    monkeypatch.chdir(path.parent)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as caught:
        convgru.read(path)
    assert path.name in str(caught.value)
    assert os.listdir(path.parent) == [path.name]  # and nothing was executed


def test_damaged_bytes(path):
    """Cut anywhere, changed anywhere: the weights, or WeightsError."""
    good, rng = state_of(), random.Random(0)
    read = 0
    for _ in range(150):
        data = bytearray(good)
        if rng.random() < 0.3:
            data = data[: rng.randrange(len(data))]
        for _ in range(rng.choice([1, 1, 4, 32])):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            weights = convgru.read(path)
        except WeightsError:
            continue
        read += 1
        assert all(np.isfinite(array).all() for array in weights.arrays.values())
    assert read < 150


def test_a_whole_pickled_module_is_refused_in_plain_words(tmp_path):
    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / "whole.pt")
    with pytest.raises(convgru.WeightsError, match=r"UnpicklingError: Unsupported global: .*Conv2d") as caught:
        convgru.read(tmp_path / "whole.pt")
    assert "\x1b" not in str(caught.value)


def test_checksums_stay_with_the_file_and_go_with_no_state_dict(path):
    """What torch.load gives may be changed and saved: its old checksums must not go along."""
    weights = convgru.init(SPECS["gru"])
    checkpoint.write(weights, path)
    assert convgru.inspect(path).verified
    state = torch.load(path, weights_only=True)
    state["layers.0.fwd.weight_ih"] *= 2
    torch.save(state, path)
    assert not convgru.inspect(path).verified
    net = backend.module_of(SPECS["gru"])
    checkpoint.write(weights, path)
    net.load_state_dict(torch.load(path, weights_only=True))
    torch.save(net.state_dict(), path)
    assert convgru.read(path).equal(weights)
    assert not convgru.inspect(path).verified
    checkpoint.write(weights, path)
    state = torch.load(path, weights_only=True, mmap=True)
    assert all(torch.equal(state[name], torch.from_numpy(array)) for name, array in weights.arrays.items())


@pytest.mark.parametrize(
    "entries", [["{"], ["[]"], ["{}", "{}"], [" " * (5 << 20)]], ids=["text", "list", "two", "long"]
)
def test_checksums_that_are_none(path, entries):
    checkpoint.write(convgru.init(SPECS["gru"]), path)
    state = torch.load(path, weights_only=True)
    path.write_bytes(saved(state))
    with zipfile.ZipFile(path, "a") as archive:
        for number, text in enumerate(entries):
            archive.writestr(zipfile.ZipInfo(f"archive{number or ''}/{checkpoint.CHECKSUMS}"), text)
    with pytest.raises(WeightsError, match=r"net\.pt: .*sha256"):
        convgru.read(path)


def test_an_entry_of_checksums_that_is_damaged(path):
    checkpoint.write(convgru.init(SPECS["gru"]), path)
    data = path.read_bytes()
    at = data.index(b'{"arrays":')
    path.write_bytes(data[:at] + b"x" + data[at + 1 :])
    with pytest.raises(WeightsError, match=r"net\.pt: the entry convgru_sha256\.json: Bad CRC-32"):
        convgru.read(path)
