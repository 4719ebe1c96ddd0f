"""Files of weights there and back to the byte; suffixes, and paths that are no files."""

from __future__ import annotations

import json
import os

import ml_dtypes
import numpy as np
import pytest

import convgru
from convgru.formats import safetensors
from convgru.spec import to_json
from convgru.weights import DTYPES

safe_open = pytest.importorskip("safetensors").safe_open

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
        note = json.loads(file.metadata()["convgru"])
        assert note.keys() == {"format", "spec", "sha256"}
        assert (note["format"], note["spec"]) == (1, json.loads(to_json(weights.spec)))


@pytest.mark.parametrize("name", SPECS)
def test_an_npz_holds_arrays_and_no_spec(tmp_path, name):
    weights = convgru.init(SPECS[name])
    with pytest.raises(convgru.WeightsError, match=r"got '\.npz', which holds no spec: numpy\.savez writes"):
        convgru.write(weights, tmp_path / "w.npz")
    np.savez(tmp_path / "w.npz", **weights.arrays)
    with pytest.raises(convgru.WeightsError, match="come without the spec"):
        convgru.read(tmp_path / "w.npz")
    assert convgru.read(tmp_path / "w.npz", spec=weights.spec).equal(weights)


def test_strided_arrays_are_written_as_they_read(tmp_path):
    arrays = {name: np.asfortranarray(array) for name, array in WEIGHTS.arrays.items()}
    convgru.write(convgru.Weights(SPEC, arrays), tmp_path / "w.safetensors")
    assert convgru.read(tmp_path / "w.safetensors").equal(WEIGHTS)
    np.savez(tmp_path / "w.npz", **arrays)
    assert convgru.read(tmp_path / "w.npz", spec=SPEC).equal(WEIGHTS)


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


def test_foreign_safetensors_are_read_with_every_plain_dtype(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"a": np.arange(3, dtype=np.int64), "b": np.ones((2, 1), ml_dtypes.bfloat16), "c": np.ones(1, np.uint8)}
    save_file(arrays, tmp_path / "f.safetensors")
    found = safetensors.contents(tmp_path / "f.safetensors").arrays
    assert all((found[name] == array).all() and found[name].dtype == array.dtype for name, array in arrays.items())


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
