"""The command convert: files and folders, any layout to ours or another, whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_fails, load_golden

import convgru
from convgru import files, importers

FRAMEWORKS = ("torch", "jax", "flax", "mindspore")


def test_convert_runs_what_strides_and_ties_its_state(convgru_cli, tmp_path):
    for number, options in enumerate(
        (
            {"peephole": "hadamard", "state_size": (4, 5), "stride": 2},
            {"padding": "valid", "kernel_size": 9},
            {"output_size": 3},
        )
    ):
        weights = convgru.init(convgru.network("lstm", 1, 2, **options))
        convgru.write(weights, tmp_path / f"{number}.safetensors")
        result = convgru_cli("convert", f"{number}.safetensors", f"{number}-again.safetensors")
        assert result.returncode == 0, result.stderr
        assert convgru.read(tmp_path / f"{number}-again.safetensors").equal(weights)


def test_convert_verifies_and_says_so(convgru_cli, file, tmp_path):
    result = convgru_cli("convert", "w.safetensors", "v.safetensors")
    assert result.returncode == 0, result.stderr
    assert "equal byte for byte" in result.stdout
    assert "same numbers" in result.stdout
    assert convgru.read(tmp_path / "v.safetensors").equal(convgru.read(file))


def test_convert_reads_a_foreign_layout(convgru_cli, tmp_path):
    weights = convgru.init(convgru.network("gru", 1, 2))
    foreign = importers.export(weights, "pytorch_convgru")
    np.savez(tmp_path / "f.npz", **{f"net/{name}": array for name, array in foreign.items()}, other=np.ones(3))
    arguments = (
        "--layout",
        "pytorch_convgru",
        "--prefix",
        "net/",
        "--hint",
        "input_size=1",
        "--hint",
        "hidden_sizes=[2]",
    )
    assert convgru_cli("convert", "f.npz", "w.safetensors", *arguments).returncode == 0
    assert convgru.read(tmp_path / "w.safetensors").equal(weights)


def test_convert_takes_a_folder(convgru_cli, tmp_path):
    """Each checkpoint by itself: one that fails leaves no file, the others go on."""
    source = tmp_path / "old" / "deep"
    source.mkdir(parents=True)
    np.savez(source / "gru.npz", **load_golden("pytorch_convgru")[1])
    np.savez(source / "droid.npz", **load_golden("foreign/droid_convgru")[1])
    convgru.write(convgru.init(convgru.network("gru", 2, 3)), source / "gru.safetensors")
    (tmp_path / "old" / "notes.txt").write_text("no checkpoint")
    result = convgru_cli("convert", "old", "new")
    assert result.returncode == 1
    assert "2 of 3 converted, 1 failed" in result.stdout
    assert "droid.npz: no known layout fits" in result.stderr
    made = sorted(str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*.*"))
    assert made == ["deep/gru.npz.safetensors", "deep/gru.safetensors.safetensors"]
    assert convgru.read(tmp_path / "new/deep/gru.npz.safetensors").equal(
        convgru.adopt(load_golden("pytorch_convgru")[1])
    )
    again = convgru_cli("convert", "old", "new")
    assert again.returncode == 1
    assert "0 of 3 converted, 2 kept (--force replaces them), 1 failed" in again.stdout
    assert again.stdout.count(": kept new/deep/gru.") == 2
    assert convgru_cli("convert", "old", "new", "--force").stdout.count("equal byte for byte") == 2
    (tmp_path / "empty").mkdir()
    assert_fails(convgru_cli("convert", "empty", "new"), "expected checkpoints with a suffix of .safetensors")


LSTM = convgru.network("lstm", 2, 3, padding="valid")
OUT = {
    "keras": (LSTM, "w.weights.h5", "conv_lstm2d/cell/vars/0", {"layout": "keras"}),
    "keras both ways": (
        convgru.network("lstm", 2, 3, ndim=1, bidirectional=True, padding="valid"),
        "w.weights.h5",
        "bidirectional/backward_layer/cell/vars/2",
        {},
    ),
    "linen": (convgru.network("lstm", 2, 3), "w.npz", "hh/kernel", {}),
    "torch.nn": (convgru.network("gru", 2, [3, 3], 1, reset="after"), "w.safetensors", "weight_hh_l1", {}),
    "pytorch_convgru": (convgru.network("gru", 2, [3, 4]), "w.npz", "ConvGRUCell_01.out_gate.bias", {}),
    "convlstm_pytorch": (convgru.network("lstm", 2, [3, 4]), "w.npz", "cell_list.1.conv.weight", {}),
    "biconvgru": (
        convgru.network("gru", 2, 3, bidirectional="stack"),
        "w.npz",
        "reverse_gru.cells.0.conv_gates.bias",
        {},
    ),
    "convolutional_rnn": (convgru.network("rnn", 2, 3), "w.npz", "bias_hh_l0", {}),
}


@pytest.mark.parametrize("name", OUT)
def test_convert_to_another_systems_file(convgru_cli, tmp_path, name):
    spec, target, key, hints = OUT[name]
    weights = convgru.init(spec, 3)
    convgru.write(weights, tmp_path / "v.safetensors")
    result = convgru_cli("convert", "v.safetensors", target, "--to", name.split()[0])
    assert result.returncode == 0, result.stderr
    assert "equal b" in result.stdout
    assert key in files.contents(tmp_path / target).arrays
    assert convgru.read(tmp_path / target, **hints).spec == spec


def test_the_suffix_of_keras_is_enough(convgru_cli, tmp_path):
    pytest.importorskip("h5py")
    weights = convgru.init(LSTM)
    convgru.write(weights, tmp_path / "v.safetensors")
    result = convgru_cli("convert", "v.safetensors", "w.weights.h5")
    assert result.returncode == 0, result.stderr
    assert "equal byte for byte" in result.stdout
    assert convgru.read(tmp_path / "w.weights.h5", spec=LSTM, layout="keras").equal(weights)
    assert_fails(convgru_cli("convert", "v.safetensors", "w.h5"), "w.h5: expected a suffix of .safetensors, .pt", 2)


def test_a_rounded_forget_bias_is_within_budget(convgru_cli, tmp_path):
    """Linen adds one to the forget bias at run time; subtracting it leaves one rounding."""
    made = convgru.init(convgru.network("lstm", 2, 3), 3)
    biased = {name: array + np.float32(1e-8) for name, array in made.arrays.items()}
    biased["layers.0.fwd.bias"] = np.full(12, 1e-8, np.float32)
    convgru.write(convgru.Weights(made.spec, biased), tmp_path / "v.safetensors")
    result = convgru_cli("convert", "v.safetensors", "w.npz", "--to", "linen")
    assert result.returncode == 0, result.stderr
    assert "equal but for one rounding" in result.stdout
    assert "source and target differ by" in result.stdout


def test_what_the_file_does_not_tell_is_said(convgru_cli, tmp_path):
    """Arrays hold no padding: inspect and convert print the assumed one until a hint gives it."""
    convgru.write(convgru.init(LSTM), tmp_path / "w.weights.h5", layout="keras")
    assumed = "assumed strides=1, padding=valid, dilation_rate=1, activation=tanh, recurrent_activation=sigmoid: hints"
    for command in (("inspect", "w.weights.h5"), ("convert", "w.weights.h5", "v.safetensors")):
        assert assumed in " ".join(convgru_cli(*command).stdout.split())
    assert convgru.inspect(tmp_path / "w.weights.h5").networks[0].assumed["padding"] == "valid"
    hints = [f"--hint={name}" for name in ("strides=1", "padding=same", "dilation_rate=1", "activation=tanh")]
    last = "--hint=recurrent_activation=sigmoid"
    shown = convgru_cli("convert", "w.weights.h5", "u.safetensors", *hints, last).stdout
    assert "assumed" not in shown
    assert convgru.read(tmp_path / "u.safetensors").spec.layers[0].padding == "same"


def test_what_another_system_does_not_have_is_refused(convgru_cli, file, tmp_path):
    assert_fails(convgru_cli("convert", "w.safetensors", "v.weights.h5", "--to", "keras"), "has no ConvGRU")
    assert not (tmp_path / "v.weights.h5").exists()


def test_a_wrong_suffix_for_another_system_is_said_of_the_target_and_not_of_a_temporary_file(
    convgru_cli, file, tmp_path
):
    for target in ("out", "out.h5", "out.keras"):
        result = convgru_cli("convert", "w.safetensors", target, "--to", "keras")
        assert_fails(result, f": {target}: expected a suffix of .safetensors, .npz, .weights.h5, .pt", 2)
    assert_fails(convgru_cli("convert", "w.safetensors", "out", "--to", "linen"), ": out: expected a suffix of .saf", 2)


def test_convert_never_overwrites_without_force(convgru_cli, file, tmp_path):
    (tmp_path / "v.safetensors").write_bytes(b"mine")
    assert_fails(convgru_cli("convert", "w.safetensors", "v.safetensors"), "v.safetensors exists: --force replaces it")
    assert (tmp_path / "v.safetensors").read_bytes() == b"mine"
    assert convgru_cli("convert", "w.safetensors", "v.safetensors", "--force").returncode == 0
    assert convgru.read(tmp_path / "v.safetensors").equal(convgru.read(file))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("none.safetensors", "v.safetensors", "none.safetensors"),
        ("broken.safetensors", "v.safetensors", "broken.safetensors: expected a safetensors header of at most"),
        ("nan.npz", "v.safetensors", "expected finite numbers, got 1"),
        ("strange.npz", "v.safetensors", "no known layout fits the arrays 'a'"),
        ("w.safetensors", "nowhere/v.safetensors", "v.safetensors: there is no folder"),
    ],
)
def test_a_failed_conversion_leaves_no_file(convgru_cli, file, tmp_path, source, target, message):
    (tmp_path / "broken.safetensors").write_bytes(file.read_bytes()[:9] + b"\xff" * 100)
    foreign = importers.export(convgru.init(convgru.network("gru", 1, 2)), "pytorch_convgru")
    foreign["ConvGRUCell_00.out_gate.bias"][0] = np.nan
    np.savez(tmp_path / "nan.npz", **foreign)
    np.savez(tmp_path / "strange.npz", a=np.ones(2))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert_fails(convgru_cli("convert", source, target), message)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_no_two_files_of_a_folder_are_converted_to_one(convgru_cli, tmp_path):
    """Stems that meet keep their suffixes; what lies below the target is no source."""
    source = tmp_path / "old"
    source.mkdir()
    spec = convgru.network("lstm", 2, 3)
    names = ("a.npz", "a.safetensors", "a.npz.npz", "b.npz")
    for seed, name in enumerate(names):
        convgru.write(convgru.init(spec, seed), source / name, layout="convlstm_pytorch")
    for _ in range(2):
        result = convgru_cli("convert", "old", "old/new", "--force")
        assert "4 of 4 converted" in result.stdout, result.stderr
    made = {path.name: convgru.read(path) for path in (source / "new").iterdir()}
    assert sorted(made) == sorted(f"{name}.safetensors" for name in names)
    assert all(made[f"{name}.safetensors"].equal(convgru.init(spec, seed)) for seed, name in enumerate(names))


def test_a_folder_that_is_converted_again_says_what_it_kept(convgru_cli, tmp_path):
    (tmp_path / "old").mkdir()
    convgru.write(convgru.init(convgru.network("gru", 2, 3)), tmp_path / "old" / "w.safetensors")
    assert convgru_cli("convert", "old", "new").returncode == 0
    (tmp_path / "new" / "w.safetensors").write_bytes(b"mine")
    again = convgru_cli("convert", "old", "new")
    assert again.returncode == 1
    assert again.stdout.splitlines()[-2:] == [
        "old/w.safetensors: kept new/w.safetensors, which exists",
        "0 of 1 converted, 1 kept (--force replaces them)",
    ]
    assert (tmp_path / "new" / "w.safetensors").read_bytes() == b"mine"
    assert convgru_cli("convert", "old", "new", "--force").returncode == 0
    assert convgru.read(tmp_path / "new" / "w.safetensors").spec.cell == "gru"
