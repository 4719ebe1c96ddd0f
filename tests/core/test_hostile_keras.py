"""Hostile Keras files: WeightsError whatever the bytes are, and no memory beyond their size."""

from __future__ import annotations

import os
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.keras_files import CELL, KERNEL, h5, keras

import convgru
from convgru.formats import hdf5
from convgru.formats import keras as keras_io

h5py = pytest.importorskip("h5py")


def cell(**options):
    return lambda file: file[CELL].create_dataset("3", **options)


def external(file):
    file[CELL].create_dataset("3", (8,), np.float32, external=[("/etc/passwd", 0, 32)])


def virtual(file):
    layout = h5py.VirtualLayout((8,), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (8,))
    file[CELL].create_virtual_dataset("3", layout)


def itself(file):
    file[f"{CELL}/again"] = file["layers"]


def deep(file):
    file.create_group("/".join(["a"] * 100)).create_dataset("x", data=np.ones(2))


def linked(link):
    return lambda file: file[CELL].__setitem__("3", link)


def described(**attributes):
    return lambda file: file.attrs.update(attributes)


GOOD, BOMB = h5(), bytes(200 << 20)
HOSTILE_H5 = {
    "empty": b"",
    "text": b"hello" * 100,
    "signature only": GOOD[:8],
    "cut in half": GOOD[: len(GOOD) // 2],
    "cut by one": GOOD[:-1],
    "superblock of ones": GOOD[:16] + b"\xff" * 64 + GOOD[80:],
    "2^60 numbers in chunks, none there": h5(cell(shape=(2**30, 2**30), dtype="f4", chunks=(64, 64))),
    "2^60 numbers, one chunk there": h5(
        lambda f: cell(shape=(2**30, 2**30), dtype="f4", chunks=(8, 8))(f).__setitem__((0, 0), 1)
    ),
    "compressed zeros, 200 MB": h5(
        cell(shape=(50 << 20,), dtype="f4", data=np.zeros(50 << 20, "f4"), chunks=(1 << 20,), compression="gzip")
    ),
    "numbers that are not there": h5(cell(shape=(8,), dtype="f4", chunks=(8,))),
    "external storage": h5(external),
    "virtual": h5(virtual),
    "external link": h5(linked(h5py.ExternalLink("/etc/passwd", "/x"))),
    "external link for a group": h5(lambda f: f.__setitem__("more", h5py.ExternalLink("other.h5", "/"))),
    "soft link": h5(linked(h5py.SoftLink("/layers"))),
    "soft link to nowhere": h5(linked(h5py.SoftLink("/none"))),
    "a group in itself": h5(itself),
    "deep groups": h5(deep),
    "config not JSON": h5(described(model_config="{")),
    "config deep": h5(described(model_config="[" * 60_000)),
    "config a number": h5(described(model_config=3)),
    "config of many": h5(described(model_config=["{}", "{}"])),
    "key twice in the config": h5(described(model_config='{"config": 1, "config": 2}')),
    "version of many": h5(described(model_config="{}", keras_version=["3", "2"])),
}
HOSTILE_KERAS = {
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "a zip cut": keras()[:400],
    "a zip begun": b"PK\x03\x04" + bytes(60),
    "weights not HDF5": keras(weights=b"\x80\x04."),
    "weights cut": keras(weights=GOOD[:500]),
    "no weights": keras()[: keras().index(b"PK\x01\x02")] + b"PK\x05\x06" + bytes(18),
    "a bomb, deflated": keras(more=[("assets/x", BOMB)], compression=zipfile.ZIP_DEFLATED),
    "a bomb of lzma": keras(more=[("assets/x", BOMB)], compression=zipfile.ZIP_LZMA),
    "a size that is a lie": keras().replace(len(GOOD).to_bytes(4, "little"), (2**31).to_bytes(4, "little")),
    "config not JSON": keras(config="pancake"),
    "config deep": keras(config='{"config":' * 100_000),
    "config not UTF-8": keras(config=b"\xff\xfe"),
    "key twice": keras(config='{"class_name": "A", "class_name": "B"}'),
    "about deep": keras(about="[" * 1000),
    "a password": keras().replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
}
CASES = [(name, ".h5", data) for name, data in HOSTILE_H5.items()] + [
    (n, ".keras", d) for n, d in HOSTILE_KERAS.items()
]


@pytest.mark.parametrize(("name", "suffix", "data"), CASES, ids=[f"{suffix[1:]}-{name}" for name, suffix, _ in CASES])
def test_hostile_files_are_weights_errors_and_take_no_memory(tmp_path, name, suffix, data):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(convgru.WeightsError, match=rf"bad{suffix}: "):
            keras_io.contents(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_twice_is_a_weights_error(tmp_path):
    (tmp_path / "w.keras").write_bytes(keras(more=[("model.weights.h5", h5())]))
    with pytest.raises(convgru.WeightsError, match="an entry is there twice"):
        convgru.read(tmp_path / "w.keras")


def test_truncations_and_flipped_bytes(tmp_path):
    """The arrays, or WeightsError."""
    path = tmp_path / "w.h5"
    for position in range(0, len(GOOD), 449):
        for data in (GOOD[:position], GOOD[:position] + bytes([GOOD[position] ^ 0xFF]) + GOOD[position + 1 :]):
            path.write_bytes(data)
            try:
                found = keras_io.contents(path)
            except convgru.WeightsError:
                continue
            assert all(array.nbytes < 1 << 20 for array in found.arrays.values())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processor time by POSIX' means")
def test_a_file_from_which_hdf5_never_returns(tmp_path, monkeypatch):
    """Where texts lie, an object of no length is followed by itself."""
    data = h5(described(model_config="{}"))
    heap = data.index(b"GCOL") + 16
    (tmp_path / "w.h5").write_bytes(data[:heap] + bytes(4096 - 16) + data[heap + 4096 - 16 :])
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    with pytest.raises(convgru.WeightsError, match=r"w\.h5: .* the file is damaged"):
        keras_io.contents(tmp_path / "w.h5")


def test_what_are_no_numbers_is_left_aside(tmp_path):
    def build(file):
        file["texts"] = ["a", "b"]
        file["empty"] = h5py.Empty("f4")
        file.create_dataset("ragged", (2,), h5py.vlen_dtype(np.float32))
        file["pairs"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file.create_dataset("reference", (1,), h5py.ref_dtype)
        file["whole"] = np.arange(3)
        file["optimizer/vars/0"] = np.ones(3)

    (tmp_path / "w.h5").write_bytes(h5(build))
    assert set(keras_io.contents(tmp_path / "w.h5").arrays) == {*(f"{CELL}/{i}" for i in range(3)), "whole"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_a_folder_and_no_file(tmp_path):
    os.mkfifo(tmp_path / "w.h5")
    with pytest.raises(convgru.WeightsError, match="pipe"):
        convgru.read(tmp_path / "w.h5")
    (tmp_path / "f.keras").mkdir()
    for name in ("f.keras", "none.keras"):
        with pytest.raises(OSError, match=name):
            convgru.read(tmp_path / name)


def test_without_h5py_the_command_that_installs_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "convgru\[keras\]"'):
        convgru.read(tmp_path / "w.keras")


def test_good_files_are_good(tmp_path):
    (tmp_path / "w.h5").write_bytes(GOOD)
    (tmp_path / "w.keras").write_bytes(keras(compression=zipfile.ZIP_DEFLATED))
    for name in ("w.h5", "w.keras"):
        found = keras_io.contents(tmp_path / name)
        assert (found.arrays[f"{CELL}/0"] == KERNEL).all()
        assert found.configs == {}
