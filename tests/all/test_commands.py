"""Commands that need frameworks: conversion to each framework's files, parity of a file, doctor."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import convgru
from convgru import files, registry
from convgru.cli import main
from convgru.nowcasting import pictures
from convgru.nowcasting.demo import data

INSTALLED = [name for name, found in registry.available().items() if not isinstance(found, str)]
SUFFIXES = [suffix for suffix, owner in files.FRAMEWORKS.items() if owner in INSTALLED]


@pytest.fixture
def file(tmp_path):
    convgru.write(convgru.init(convgru.forecaster("gru", 1, [3, 4], patch=2)), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_there_and_back_through_a_frameworks_own_file(file, tmp_path, capsys, suffix):
    there, back = tmp_path / f"w{suffix}", tmp_path / "back.safetensors"
    assert main(["convert", str(file), str(there)]) == 0
    shown = capsys.readouterr().out
    assert "equal byte for byte" in shown
    assert f"{files.FRAMEWORKS[suffix]} against the reference: output off by" in shown
    assert main(["convert", str(there), str(back)]) == 0
    assert back.read_bytes() == file.read_bytes()
    assert main(["convert", str(file), str(there)]) == 1  # not without --force
    assert main(["convert", str(file), str(there), "--force"]) == 0
    assert convgru.read(there).equal(convgru.read(file))


@pytest.mark.parametrize("name", INSTALLED)
def test_to_runs_the_file_in_that_framework(file, tmp_path, capsys, name):
    assert main(["convert", str(file), str(tmp_path / "v.safetensors"), "--to", name]) == 0
    assert f"{name} against the reference: state off by" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "suffix"), [("torch", ".pt"), ("flax", ".msgpack"), ("mindspore", ".ckpt")])
@pytest.mark.parametrize("layout", ["pytorch_convgru", "linen"])
def test_another_systems_layout_in_a_frameworks_file(tmp_path, capsys, layout, name, suffix):
    if name not in INSTALLED:
        pytest.skip(f"{name} is not installed")
    spec = convgru.network("gru" if layout == "pytorch_convgru" else "lstm", 2, 3)
    weights = convgru.init(spec, 5)
    convgru.write(weights, tmp_path / "w.safetensors")
    target = tmp_path / f"v{suffix}"
    assert main(["convert", str(tmp_path / "w.safetensors"), str(target), "--to", layout]) == 0
    assert "equal byte for byte" in capsys.readouterr().out
    assert convgru.read(target).equal(weights)  # recognised, without a layout given


def test_a_framework_that_misses_leaves_no_file(file, tmp_path, capsys, monkeypatch):
    backend = registry.get(INSTALLED[0])
    execute = backend.execute

    def wrong(*arguments, **options):
        y, state, gradients = execute(*arguments, **options)
        return y + 1, state, gradients

    monkeypatch.setattr(backend, "execute", wrong)
    assert main(["convert", str(file), str(tmp_path / "v.safetensors"), "--to", INSTALLED[0]]) == 1
    assert "misses the reference: output off by" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.safetensors"]


def test_parity_of_a_file_on_given_input(file, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((2, 1, 1, 8, 8)))
    command = [
        "parity",
        str(file),
        "--backends",
        ",".join(INSTALLED),
        "--input",
        str(tmp_path / "x.npy"),
        "--steps",
        "2",
    ]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {row["backend"] for row in report["rows"]} == set(INSTALLED)
    assert {row["quantity"] for row in report["rows"]} == {"output", "state", "gradient"}
    assert all(0 <= row["ratio"] <= 1 for row in report["rows"])
    assert main([*command, "--output", str(tmp_path / "report.json"), "--no-gradients"]) == 0
    assert "within budget" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["ok"] is True


def test_parity_of_a_file_on_unfit_input_is_exit_code_1(file, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 3, 8, 8)))
    assert main(["parity", str(file), "--input", str(tmp_path / "x.npy")]) == 1
    assert "Forecaster expected 1 input channels on axis 2, got 3" in capsys.readouterr().err


def test_doctor_knows_what_is_installed(capsys):
    assert main(["doctor", "--json"]) == 0
    backends = json.loads(capsys.readouterr().out)["backends"]
    assert [name for name, found in backends.items() if found["available"]] == INSTALLED
    for name in INSTALLED:
        assert "cpu" in backends[name]["devices"]
        assert backends[name]["versions"]
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in registry.ROOMS)


@pytest.fixture
def radar(tmp_path):
    """Two tiny days in the place of the demo's."""
    folder = tmp_path / "radar"
    folder.mkdir()
    for seed, day in enumerate((data.TRAINING_DAY, data.TEST_DAY)):
        frames = np.random.default_rng(seed).integers(0, 140, (19, 24, 24)).astype(np.uint8)
        np.savez(folder / f"fmi_{day}.npz", frames=frames)
    return folder


@pytest.mark.skipif("torch" not in INSTALLED, reason="the demo trains in PyTorch")
def test_demo_without_matplotlib_does_everything_but_the_picture(radar, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    command = ["demo", "--steps", "1", "--data", str(radar), "--folder", str(tmp_path / "out")]
    code = main(command)
    shown = " ".join(capsys.readouterr().out.split())
    assert "no picture: it needs matplotlib: pip install 'convgru[demo]'" in shown
    assert "Agreement with the float64 reference" in shown
    assert all(title in shown for title in ("MSE [dBZ²]", "CSI ≥ 10 dBZ", "CSI ≥ 20 dBZ", "extrapolation"))
    written = tmp_path / "out" / "nowcaster.safetensors"
    assert convgru.read(written).spec.title == "Forecaster"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [written.name]

    before = written.read_bytes()
    assert main(command) == 1  # a second run would replace the first one's weights
    assert "nowcaster.safetensors exists: --force replaces it" in capsys.readouterr().err
    assert written.read_bytes() == before

    assert main([*command, "--json", "--force"]) == code
    summary = json.loads(capsys.readouterr().out)
    compared = {(row["backend"], row["quantity"]) for row in summary["agreement"]}
    assert compared == {(name, quantity) for name in INSTALLED for quantity in ("output", "state")}
    assert all(row["ratio"] <= 1 for row in summary["agreement"])
    assert summary["good"] is (code == 0)


@pytest.mark.skipif("torch" not in INSTALLED, reason="the example trains in PyTorch")
@pytest.mark.parametrize("options", [["--test"], ["--no-motion", "--patch", "3"]], ids=["test", "no-motion"])
def test_the_example_forecasts_ones_own_frames(tmp_path, capsys, monkeypatch, options):
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    for index, frame in enumerate(np.random.default_rng(0).gamma(2.0, 5.0, (9, 20, 26))):
        np.save(folder / f"{index:03}.npy", frame)
    options = [*options, str(folder)] if options == ["--test"] else options
    sizes = ["--given", "4", "--ahead", "3", "--steps", "1", "--units", "mm", "--minutes", "10", "--folder", str(out)]
    monkeypatch.setattr("sys.argv", ["nowcast.py", str(folder), *sizes, *options])
    runpy.run_path(
        str(Path(__file__).resolve().parents[2] / "examples" / "nowcast" / "nowcast.py"), run_name="__main__"
    )
    assert ("+30 min  MSE" in capsys.readouterr().out) is ("--test" in options)
    assert convgru.read(out / "nowcaster.safetensors").spec.title == "Forecaster"
    with np.load(out / "forecast.npz") as archive:
        assert archive["frames"].shape == (3, 20, 26)
        assert archive["motion"].any() == ("--test" in options)
    written = {"nowcaster.safetensors", "forecast.npz"}
    written |= {"forecast.png", "forecast.gif"} if pictures.available() else set()
    assert {path.name for path in out.iterdir()} == written
