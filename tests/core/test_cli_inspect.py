"""The command inspect: what is in a file, as tables and as JSON; several networks in one file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import assert_fails

import convgru
from convgru import importers


def test_inspect_shows_the_network(convgru_cli, file):
    result = convgru_cli("inspect", "w.safetensors")
    assert result.returncode == 0, result.stderr
    for text in (
        "ConvGRU, 2-D, 846 parameters of float32",
        "layers.1.fwd.weight_hh",
        "(12, 4, 1, 5)",
        "reset before",
        "valid",
        "checksums (SHA-256): verified",
    ):
        assert text in result.stdout


def test_inspect_shows_a_forecaster(convgru_cli, tmp_path):
    convgru.write(convgru.init(convgru.forecaster("lstm", 1, 2, patch=4)), tmp_path / "f.safetensors")
    result = convgru_cli("inspect", "f.safetensors")
    assert "Forecaster of ConvLSTM layers" in result.stdout
    assert "frames of 1 channels, patch (4, 4)" in result.stdout


def test_inspect_shows_what_is_not_the_default(convgru_cli, tmp_path):
    spec = convgru.network(
        "lstm",
        2,
        4,
        stride=2,
        groups=2,
        peephole="hadamard",
        norm=4,
        bidirectional="stack",
        merge="sum",
        updates=(3, 5),
    )
    convgru.write(convgru.init(spec), tmp_path / "w.safetensors")
    result = convgru_cli("inspect", "w.safetensors")
    assert result.returncode == 0, result.stderr
    for text in ("bidirectional stack, merge sum", "(2, 2)", "peephole hadamard", "norm of (4,) groups", "groups 2"):
        assert text in " ".join(result.stdout.split())
    convgru.write(
        convgru.init(convgru.forecaster("gru", 1, 2, decoder=True, feedback=False)), tmp_path / "f.safetensors"
    )
    assert "decoder of its own, feedback False" in convgru_cli("inspect", "f.safetensors").stdout


def test_inspect_json_is_json_and_nothing_else(convgru_cli, file):
    shown = json.loads(convgru_cli("inspect", "w.safetensors", "--json").stdout)
    assert shown["network"] == "ConvGRU"
    assert shown["dtype"] == "float32"
    assert shown["parameters"] == 846
    assert shown["checksums"] == "verified"
    assert shown["spec"]["layers"][1]["kernel_size"] == [1, 5]
    assert shown["arrays"]["layers.0.fwd.weight_ih"] == [9, 2, 3, 3]


def test_inspect_recognises_foreign_files(convgru_cli, tmp_path):
    weights = convgru.init(convgru.network("rnn", 1, 2, activation="relu"))
    np.savez(tmp_path / "f.npz", **importers.export(weights, "convolutional_rnn"))
    shown = json.loads(convgru_cli("inspect", "f.npz", "--json", "--hint", "nonlinearity=relu").stdout)
    assert shown["spec"]["layers"][0]["activation"] == "relu"
    assert shown["checksums"] == "none"
    assert (
        "checksums (SHA-256): none in the file" in convgru_cli("inspect", "f.npz", "--hint", "nonlinearity=relu").stdout
    )


def test_inspect_lists_several_networks_and_what_is_left(convgru_cli, two_systems):
    shown = " ".join(convgru_cli("inspect", "f.npz").stdout.split())
    for text in (
        "2 networks",
        "'encoder.' │ pytorch_convgru",
        "'decoder.' │ convlstm_pytorch",
        "left alone: head.weight",
    ):
        assert text in shown
    listed = json.loads(convgru_cli("inspect", "f.npz", "--json").stdout)
    assert [each["prefix"] for each in listed["networks"]] == ["decoder.", "encoder."]
    assert listed["left"] == ["head.weight"]
    one = convgru_cli("inspect", "f.npz", "--prefix", "encoder").stdout
    assert "ConvGRU, 2-D, 5286 parameters" in one
    assert "read as pytorch_convgru, 'encoder.'" in one
    assert_fails(
        convgru_cli("convert", "f.npz", "g.safetensors"), "choose one by prefix=: 'decoder.' (convlstm_pytorch)"
    )
    assert convgru_cli("convert", "f.npz", "g.safetensors", "--prefix", "decoder.").returncode == 0


def test_inspect_says_what_it_assumed_of_each_network(convgru_cli, tmp_path):
    """Each of several networks has a sentence of its own, with its prefix; JSON holds the same."""
    arrays = {
        f"{start}.{name}": array
        for start in ("first", "second")
        for name, array in importers.export(convgru.init(convgru.network("rnn", 2, 3)), "convolutional_rnn").items()
    }
    np.savez(tmp_path / "two.npz", **arrays)
    shown = " ".join(convgru_cli("inspect", "two.npz").stdout.split())
    for start in ("first", "second"):
        assert f"'{start}.': not in the file, assumed stride=1, dilation=1, nonlinearity=tanh" in shown
    networks = json.loads(convgru_cli("inspect", "two.npz", "--json").stdout)["networks"]
    assert [each["assumed"]["nonlinearity"] for each in networks] == ["tanh", "tanh"]
    arrays = convgru.init(convgru.network("gru", 2, 3, stride=2)).arrays
    np.savez(
        tmp_path / "own.npz", **{f"a.{n}": a for n, a in arrays.items()}, **{f"b.{n}": a for n, a in arrays.items()}
    )
    shown = " ".join(convgru_cli("inspect", "own.npz", "--layout", "convgru").stdout.split())
    assert shown.count("not in the file, assumed") == 2
    assert shown.count("stride=1") >= 2
    networks = json.loads(convgru_cli("inspect", "own.npz", "--layout", "convgru", "--json").stdout)["networks"]
    assert [each["assumed"]["stride"] for each in networks] == [1, 1]


def test_inspect_of_hints_that_fit_one_network_or_none(convgru_cli, tmp_path):
    arrays = {
        f"{start}.{name}": array
        for start, channels in (("a", 2), ("b", 3))
        for name, array in importers.export(
            convgru.init(convgru.network("lstm", 1, channels)), "convlstm_pytorch"
        ).items()
    }
    np.savez(tmp_path / "two.npz", **arrays)
    result = convgru_cli("inspect", "two.npz", "--hint", "hidden_dim=3")
    assert result.returncode == 0, result.stderr
    assert "read as convlstm_pytorch, 'b.'" in result.stdout
    assert "the arrays say hidden_dim=[2]" in result.stdout
    assert_fails(convgru_cli("inspect", "two.npz", "--hint", "hidden_dim=4"), "no known layout fits")


def test_networks_of_ours_and_of_others_stand_side_by_side(tmp_path, two_systems):
    weights = convgru.init(convgru.network("gru", 2, [3, 4]))
    convgru.write(weights, tmp_path / "w.safetensors")
    (network,) = convgru.inspect(tmp_path / "w.safetensors").networks
    assert (network.layout, network.spec) == ("convgru", weights.spec)
    assert convgru.inspect(tmp_path / "w.safetensors").weights.equal(weights)
    found = convgru.inspect(two_systems)
    assert [each.layout for each in found.networks] == ["convlstm_pytorch", "pytorch_convgru"]
    assert found.weights is None
    assert convgru.inspect(two_systems, prefix="decoder").weights.spec.cell == "lstm"
    np.savez(tmp_path / "nothing.npz", a=np.ones(2))
    with pytest.raises(convgru.WeightsError, match=r"nothing\.npz: no known layout fits the arrays 'a'"):
        convgru.inspect(tmp_path / "nothing.npz")


def test_the_advice_for_arrays_without_a_spec_is_that_of_the_command_line(convgru_cli, tmp_path):
    arrays = convgru.init(convgru.network("gru", 2, 3)).arrays
    np.savez(tmp_path / "k.npz", **arrays)
    for command in (("inspect", "k.npz"), ("convert", "k.npz", "k.safetensors")):
        assert_fails(convgru_cli(*command), "--layout convgru derives it from the shapes, --hint NAME=VALUE")
    with pytest.raises(convgru.WeightsError, match="layout='convgru' derives it") as caught:
        convgru.adopt(dict(arrays))
    assert "file" not in str(caught.value)
