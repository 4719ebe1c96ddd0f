"""Weights through every framework in a row and every kind of file come back equal to the byte."""

from __future__ import annotations

import itertools

import pytest

import convgru
from convgru import files, registry

INSTALLED = [name for name, found in registry.available().items() if not isinstance(found, str)]
SPECS = {
    "gru": convgru.network("gru", 2, [3, 4], [3, (2, 5)], reset="after"),
    "lstm": convgru.network("lstm", 2, 3, bias=False, ndim=1, padding="valid"),
    "rnn": convgru.network("rnn", 1, 2, (1, 2, 3), ndim=3, activation="relu"),
    "forecaster": convgru.forecaster("gru", 1, [4, 4], patch=2),
    "both ways": convgru.network("gru", 4, [4, 2], bidirectional=True, groups=2, stride=[2, 1], norm=1, reset="after"),
    "peephole": convgru.network("lstm", 1, 2, peephole="hadamard", state_size=(5, 4), padding_mode="circular"),
    "updates": convgru.network("gru", 1, 2, updates=((1, 3), (3, 1)), bidirectional="stack", dropout=0.1, zoneout=0.2),
    "decoder": convgru.forecaster("lstm", 1, 2, decoder=True, feedback=False, peephole="conv"),
}


@pytest.mark.skipif(len(INSTALLED) < 2, reason="fewer than two frameworks are installed")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPECS)
def test_a_port_through_all_frameworks_in_every_order(name, dtype):
    weights = convgru.init(SPECS[name], seed=5, dtype=dtype)
    for order in itertools.permutations(INSTALLED):
        net = convgru.build(weights, order[0])
        for target in order[1:]:
            net = convgru.port(net, target)
        assert convgru.extract(net).equal(weights), order


@pytest.mark.parametrize("name", SPECS)
def test_through_every_kind_of_file(tmp_path, name):
    weights = convgru.init(SPECS[name], seed=5)
    suffixes = [*files.OURS, *(suffix for suffix, owner in files.FRAMEWORKS.items() if owner in INSTALLED)]
    for suffix in suffixes:
        path = tmp_path / f"w{suffix}"
        convgru.write(weights, path)
        weights_back = convgru.read(path)
        assert weights_back.equal(weights), suffix
        assert list(weights_back.arrays) == list(weights.arrays), suffix
    assert sorted(path.suffix for path in tmp_path.iterdir()) == sorted(suffixes)  # and nothing else is left behind


@pytest.mark.parametrize("suffix", [suffix for suffix, owner in files.FRAMEWORKS.items() if owner in INSTALLED])
def test_hostile_bytes_in_a_frameworks_file_are_weights_errors(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    convgru.write(convgru.init(SPECS["rnn"]), path)
    good = path.read_bytes()
    path.unlink()  # MindSpore leaves its files read-only
    attempts = [b"", b"\x00", b"\x80", b"not a checkpoint", *(good[: len(good) * part // 8] for part in range(8))]
    attempts += [good[:position] + b"\xff" + good[position + 1 :] for position in range(0, min(len(good), 400), 23)]
    for data in attempts:
        path.write_bytes(data)
        try:
            weights = convgru.read(path)
        except convgru.WeightsError:
            continue
        assert {key: array.shape for key, array in weights.arrays.items()} == convgru.parameter_shapes(weights.spec)


@pytest.mark.parametrize("suffix", list(files.FRAMEWORKS))
def test_no_such_file_is_an_os_error(tmp_path, suffix):
    with pytest.raises(FileNotFoundError):
        convgru.read(tmp_path / f"none{suffix}")


@pytest.mark.parametrize("name", INSTALLED)
def test_extract_knows_every_backends_networks(name):
    weights = convgru.init(SPECS["gru"])
    assert convgru.extract(convgru.build(weights, name)).equal(weights)


@pytest.mark.parametrize("name", INSTALLED)
def test_an_unknown_option_of_build_is_named_with_those_that_there_are(name):
    weights = convgru.init(SPECS["lstm"])
    said = rf"""convgru\.build\(\.\.\., "{name}"\) has no option 'batchfirst': its options are \w+"""
    with pytest.raises(TypeError, match=said):
        convgru.build(weights, name, batchfirst=True)
    with pytest.raises(TypeError, match=said):
        convgru.port(convgru.build(weights, name), name, batchfirst=True)
