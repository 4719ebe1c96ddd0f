"""Checksums in our own files: a change is found and named, in every format that is installed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.own_files import FORMATS, changed, installed, without_checksums

import convgru
from convgru.formats import checksums

SPEC = convgru.network("gru", 2, [3, 3, 3])
WEIGHTS = convgru.init(SPEC, 1)
PAIR = ("layers.1.fwd.weight_hh", "layers.2.fwd.weight_hh")


def swap(spec, arrays):
    arrays[PAIR[0]], arrays[PAIR[1]] = arrays[PAIR[1]], arrays[PAIR[0]]
    return spec, arrays


def one_bit(spec, arrays):
    damaged = arrays[PAIR[0]].copy()
    damaged.reshape(-1).view(np.uint8)[0] ^= 1
    return spec, {**arrays, PAIR[0]: damaged}


def another_spec(spec, arrays):
    return convgru.network("gru", 2, [3, 3, 3], padding_mode="reflect"), arrays


CHANGES = {
    swap: f"SHA-256 of {', '.join(PAIR)} is another",
    one_bit: f"SHA-256 of {PAIR[0]} is another",
    another_spec: "SHA-256 of the spec is another",
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_of_one_of_our_files_is_found(tmp_path, suffix, change):
    path = tmp_path / f"w{installed(suffix)}"
    convgru.write(WEIGHTS, path)
    assert convgru.read(path).equal(WEIGHTS)
    assert convgru.inspect(path).verified
    changed(path, change)
    with pytest.raises(convgru.WeightsError, match="damaged, or changed after convgru wrote it") as caught:
        convgru.read(path)
    assert str(path) in str(caught.value)
    assert CHANGES[change] in str(caught.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_without_checksums_is_read_as_before(tmp_path, suffix):
    path = tmp_path / f"w{installed(suffix)}"
    convgru.write(WEIGHTS, path)
    without_checksums(path)
    assert convgru.read(path).equal(WEIGHTS)
    assert not convgru.inspect(path).verified


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_dtype_is_hashed_as_it_is_read(tmp_path, suffix, dtype):
    path, weights = tmp_path / f"w{installed(suffix)}", WEIGHTS.astype(dtype)
    if suffix == ".ckpt" and dtype == "bfloat16":
        pytest.skip("MindSpore has no bfloat16 on CPU")
    convgru.write(weights, path)
    assert convgru.read(path).equal(weights)
    assert convgru.inspect(path).verified


BAD = {
    "a list": [],
    "nothing": {},
    "no spec": {"arrays": {}},
    "a number": {"spec": 1, "arrays": {}},
    "numbers": {"spec": "", "arrays": {"a": 1}},
    "no array": {"spec": "", "arrays": {}},
    "another array": {"spec": "", "arrays": {"b" * 9999: ""}},
    "not hexadecimal": {"spec": "é", "arrays": {"a": "é"}},
}


@pytest.mark.parametrize("name", BAD)
def test_checksums_that_are_none(name):
    with pytest.raises(convgru.WeightsError, match=r"sha256|SHA-256") as caught:
        checksums.check(BAD[name], "{}", {"a": np.zeros(2)})
    assert len(str(caught.value)) < 400
    with pytest.raises(convgru.WeightsError):
        checksums.check_text(json.dumps(BAD[name]), "{}", {"a": np.zeros(2)})
    with pytest.raises(convgru.WeightsError, match="expected JSON"):
        checksums.check_text("[", "{}", {})


def test_many_changes_are_counted():
    arrays = {f"a{i}": np.zeros(i + 1) for i in range(30)}
    sums = checksums.of("{}", arrays)
    with pytest.raises(convgru.WeightsError, match=r"of a0, a1, a2, a3, a4, a5, a6, a7 and 22 more is another"):
        checksums.check(sums, "{}", {name: array + 1 for name, array in arrays.items()})
    checksums.check(sums, "{}", arrays)


def test_shape_and_dtype_are_part_of_an_arrays_checksum():
    array = np.arange(6, dtype=np.float32)
    variants = [array, array.reshape(2, 3), array.view(np.int32), array.view(np.uint8), array[::-1]]
    assert len({checksums.of("", {"a": each})["arrays"]["a"] for each in variants}) == len(variants)
    transposed = np.asfortranarray(array.reshape(2, 3))
    assert checksums.of("", {"a": transposed}) == checksums.of("", {"a": array.reshape(2, 3)})


def test_arrays_of_ours_that_another_program_saved_have_none(tmp_path):
    """The numbers may be trained on: what is saved by other means is not compared with old ones."""
    save_file(dict(WEIGHTS.arrays), tmp_path / "w.safetensors")
    held = convgru.inspect(tmp_path / "w.safetensors", spec=SPEC)
    assert held.weights is not None
    assert not held.verified
