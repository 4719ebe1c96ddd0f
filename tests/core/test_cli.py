"""The command line as users run it: in a process of its own, by exit code, stdout and stderr."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from support import assert_fails, load_golden

import convgru
from convgru import cli, importers

FRAMEWORKS = ("torch", "jax", "flax", "mindspore")


def test_inspect_shows_the_network(convgru_cli, file):
    result = convgru_cli("inspect", "w.safetensors")
    assert result.returncode == 0, result.stderr
    for text in (
        "ConvGRU, 2-D, 846 parameters of float32",
        "layers.1.fwd.weight_hh",
        "(12, 4, 1, 5)",
        "reset before",
        "valid",
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
    found = json.loads(convgru_cli("inspect", "w.safetensors", "--json").stdout)
    assert found["network"] == "ConvGRU"
    assert found["dtype"] == "float32"
    assert found["parameters"] == 846
    assert found["spec"]["layers"][1]["kernel_size"] == [1, 5]
    assert found["arrays"]["layers.0.fwd.weight_ih"] == [9, 2, 3, 3]


def test_inspect_recognises_foreign_files(convgru_cli, tmp_path):
    weights = convgru.init(convgru.network("rnn", 1, 2, activation="relu"))
    np.savez(tmp_path / "f.npz", **importers.export(weights, "convolutional_rnn"))
    found = json.loads(convgru_cli("inspect", "f.npz", "--json", "--hint", "nonlinearity=relu").stdout)
    assert found["spec"]["layers"][0]["activation"] == "relu"


def _several(path):
    """Two networks of two systems and something else, in one file."""
    arrays = {f"encoder.{name}": array for name, array in load_golden("pytorch_convgru")[1].items()}
    arrays |= {f"decoder.{name}": array for name, array in load_golden("convlstm_pytorch")[1].items()}
    np.savez(path, **arrays, **{"head.weight": np.ones((1, 2, 1, 1))})


def test_inspect_lists_several_networks_and_what_is_left(convgru_cli, tmp_path):
    _several(tmp_path / "f.npz")
    shown = " ".join(convgru_cli("inspect", "f.npz").stdout.split())
    for text in (
        "2 networks",
        "'encoder.' │ pytorch_convgru",
        "'decoder.' │ convlstm_pytorch",
        "left alone: head.weight",
    ):
        assert text in shown
    told = json.loads(convgru_cli("inspect", "f.npz", "--json").stdout)
    assert [each["prefix"] for each in told["networks"]] == ["decoder.", "encoder."]
    assert told["left"] == ["head.weight"]
    one = convgru_cli("inspect", "f.npz", "--prefix", "encoder").stdout
    assert "ConvGRU, 2-D, 5286 parameters" in one
    assert "read as pytorch_convgru, 'encoder.'" in one
    assert_fails(
        convgru_cli("convert", "f.npz", "g.safetensors"), "choose one by prefix=: 'decoder.' (convlstm_pytorch)"
    )
    assert convgru_cli("convert", "f.npz", "g.safetensors", "--prefix", "decoder.").returncode == 0


def test_inspect_says_what_it_assumed_of_each_network(convgru_cli, tmp_path):
    """Of several networks each has its own sentence, with the network's prefix; JSON holds the
    same.
    """
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
    own = convgru.init(convgru.network("gru", 2, 3, stride=2)).arrays
    np.savez(tmp_path / "own.npz", **{f"a.{n}": a for n, a in own.items()}, **{f"b.{n}": a for n, a in own.items()})
    shown = " ".join(convgru_cli("inspect", "own.npz", "--layout", "convgru").stdout.split())
    assert shown.count("not in the file, assumed") == 2
    assert shown.count("stride=1") >= 2
    networks = json.loads(convgru_cli("inspect", "own.npz", "--layout", "convgru", "--json").stdout)["networks"]
    assert [each["assumed"]["stride"] for each in networks] == [1, 1]


def test_networks_of_ours_and_of_others_stand_side_by_side(tmp_path):
    weights = convgru.init(convgru.network("gru", 2, [3, 4]))
    convgru.write(weights, tmp_path / "w.safetensors")
    (own,) = convgru.inspect(tmp_path / "w.safetensors").networks
    assert (own.layout, own.spec) == ("convgru", weights.spec)
    assert convgru.inspect(tmp_path / "w.safetensors").weights.equal(weights)
    _several(tmp_path / "f.npz")
    found = convgru.inspect(tmp_path / "f.npz")
    assert [each.layout for each in found.networks] == ["convlstm_pytorch", "pytorch_convgru"]
    assert found.weights is None
    assert convgru.inspect(tmp_path / "f.npz", prefix="decoder").weights.spec.cell == "lstm"
    np.savez(tmp_path / "nothing.npz", a=np.ones(2))
    with pytest.raises(convgru.WeightsError, match=r"nothing\.npz: no known layout fits the arrays 'a'"):
        convgru.inspect(tmp_path / "nothing.npz")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("inspect",),
        ("inspect", "a", "--colour"),
        ("inspect", "a", "--hint", "nothing"),
        ("convert", "a.npz"),
        ("convert", "a.npz", "b.safetensors", "--to", "tensorflow"),
        ("parity", "--backends", "torch,tensorflow"),
        ("parity", "--dtype", "int8"),
        ("parity", "--control", "pancake"),
        ("parity", "--module"),
        ("parity", "w.npz", "--size", "a,b"),
        ("doctor", "now"),
    ],
)
def test_bad_usage_is_exit_code_2(convgru_cli, arguments):
    assert_fails(convgru_cli(*arguments), "usage: convgru", code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("parity", "--steps", "3"), "go with a FILE"),
        (("parity", "--prefix", "encoder."), "go with a FILE"),
        (("parity", "--hint", "a=1"), "go with a FILE"),
        (("parity", "--module", "mine"), "module expected package.module:name, got 'mine'"),
        (("parity", "w.safetensors", "--control", "swapped-gates"), "goes with the table of cases"),
        (("parity", "w.safetensors", "--dtype", "float32,float64"), "compared in one dtype"),
        (("parity", "w.safetensors", "--input", "w.safetensors"), "expected an array as numpy.save writes it"),
        (("inspect", "none.npz"), "none.npz"),
    ],
)
def test_bad_input_is_exit_code_1(convgru_cli, file, arguments, message):
    assert_fails(convgru_cli(*arguments), message)


def test_version_and_help(convgru_cli):
    assert convgru_cli("--version").stdout.strip() == f"convgru {convgru.__version__}"
    shown = convgru_cli("--help").stdout
    assert all(command in shown for command in ("inspect", "convert", "parity", "doctor", "demo"))


NO_FRAMEWORK = """
import sys
from convgru.cli import main
sys.exit(main({arguments!r}))
"""


def test_doctor_without_frameworks_says_how_to_install_them(python):
    result = python(NO_FRAMEWORK.format(arguments=["doctor", "--json"]), blocked=FRAMEWORKS)
    assert result.returncode == 0, result.stderr
    backends = json.loads(result.stdout)["backends"]
    assert [backend["available"] for backend in backends.values()] == [False] * 4
    assert all(f"pip install 'convgru[{name}]'" in backends[name]["reason"] for name in FRAMEWORKS)
    table = python(NO_FRAMEWORK.format(arguments=["doctor"]), blocked=FRAMEWORKS)
    assert table.returncode == 0
    assert "mindspore: convgru.mindspore needs MindSpore: pip install 'convgru[mindspore]'" in table.stdout


BROKEN = """
import importlib
import convgru.cli.commands
def broken(name):
    raise OSError("libtorch.so: cannot open shared object file")
importlib.import_module = broken
"""


def test_doctor_survives_a_broken_framework(python):
    result = python(BROKEN + NO_FRAMEWORK.format(arguments=["doctor", "--json"]))
    assert result.returncode == 0, result.stderr
    assert "PyTorch does not load: OSError: libtorch.so" in json.loads(result.stdout)["backends"]["torch"]["reason"]


def test_a_parity_run_that_compared_nothing_fails(python):
    result = python(NO_FRAMEWORK.format(arguments=["parity", "--json", "--jobs", "1"]), blocked=FRAMEWORKS)
    assert result.returncode == 1, result.stderr
    assert json.loads(result.stdout)["ok"] is False
    asked = python(NO_FRAMEWORK.format(arguments=["parity", "--backends", "torch", "--jobs", "1"]), blocked=FRAMEWORKS)
    assert_fails(asked, "pip install 'convgru[torch]'")


MODULE = """
from convgru import UnsupportedError, network, reference
from convgru.weights import Weights

def right(spec, arrays, x, state, factor=1.0):
    y, end = reference.run(Weights(spec, arrays), x, state)
    return (factor * y).astype(x.dtype), tuple(h.astype(x.dtype) for h in end)

def wrong(spec, arrays, x, state):
    return right(spec, arrays, x, state, 1.001)

def choosy(spec, arrays, x, state):
    raise UnsupportedError("not this one")
"""


def test_parity_of_a_module_of_ones_own(python, tmp_path):
    """The module lies in the working directory, which the console script has not in its path."""
    convgru.write(convgru.init(convgru.network("gru", 2, 3)), tmp_path / "w.safetensors")
    (tmp_path / "mine_for_cli.py").write_text(MODULE)

    def run(name, *options):
        arguments = ["parity", "w.safetensors", "--module", f"mine_for_cli:{name}", *options]
        return python("import sys; sys.path.remove('')" + NO_FRAMEWORK.format(arguments=arguments), blocked=FRAMEWORKS)

    right = run("right", "--json")
    assert right.returncode == 0, right.stderr
    report = json.loads(right.stdout)
    assert report["backends"] == ["mine_for_cli:right"]
    assert {row["quantity"] for row in report["rows"]} == {"output", "state"}
    wrong = run("wrong")
    assert wrong.returncode == 1
    assert "output (output) error" in wrong.stdout
    choosy = run("choosy")
    assert choosy.returncode == 1
    assert "declined 1 case: not this one" in choosy.stdout
    assert_fails(run("missing"), "mine_for_cli has no missing")


COMMANDS_THAT_WRITE = {
    "inspect": ["inspect", "w.safetensors"],
    "doctor": ["doctor"],
    "parity": ["parity", "w.safetensors"],
}


@pytest.mark.parametrize("name", COMMANDS_THAT_WRITE)
def test_output_keeps_what_exists_unless_forced(python, file, name):
    """A report never takes the place of a checkpoint, nor of an older report."""
    target = file.with_name("model.pt")
    target.write_bytes(b"mine")

    def run(*options):
        arguments = [*COMMANDS_THAT_WRITE[name], "--output", "model.pt", *options]
        return python(NO_FRAMEWORK.format(arguments=arguments), blocked=FRAMEWORKS)

    assert_fails(run(), "model.pt exists: --force replaces it")
    assert_fails(run("--json"), "model.pt exists: --force replaces it")
    assert target.read_bytes() == b"mine"
    printed = run("--json", "--force")
    assert json.loads(target.read_text()) == json.loads(printed.stdout), printed.stderr
    target.unlink()
    shown = run()
    assert json.loads(target.read_text()) == json.loads(printed.stdout)
    assert "│" in shown.stdout or "not compared" in shown.stdout  # tables, since --json was not given


def test_json_takes_no_path(python, file):
    """``parity --json FILE`` compares the file, and leaves it as it is."""
    before = file.read_bytes()
    result = python(NO_FRAMEWORK.format(arguments=["parity", "--json", "w.safetensors"]), blocked=FRAMEWORKS)
    assert json.loads(result.stdout)["failures"] == ["nothing was compared: no backend is installed"]
    assert file.read_bytes() == before


def test_output_into_no_folder_is_said_before_the_work(convgru_cli, file):
    assert_fails(convgru_cli("inspect", "w.safetensors", "--output", "no/r.json"), "there is no folder no")
    assert_fails(convgru_cli("inspect", "w.safetensors", "--output", ".", "--force"), ". is a folder")


def test_parity_of_a_file_takes_prefix_layout_and_hints(python, tmp_path):
    """FILE is read as inspect and convert read it; what was assumed goes to stderr."""
    _several(tmp_path / "f.npz")

    def run(*arguments):
        return python(NO_FRAMEWORK.format(arguments=["parity", "f.npz", *arguments]), blocked=FRAMEWORKS)

    assert_fails(run(), "choose one by prefix=: 'decoder.' (convlstm_pytorch)")
    assert "nothing was compared" in run("--prefix", "decoder.").stdout
    assert_fails(run("--prefix", "decoder.", "--layout", "keras"), "no known layout fits")
    assert_fails(run("--prefix", "decoder.", "--hint", "hidden_dim=7"), "hidden_dim")


def test_machines_need_no_rich_and_people_are_told(python, file):
    blocked = (*FRAMEWORKS, "rich")
    assert python(NO_FRAMEWORK.format(arguments=["inspect", str(file), "--json"]), blocked=blocked).returncode == 0
    result = python(NO_FRAMEWORK.format(arguments=["inspect", str(file)]), blocked=blocked)
    assert_fails(result, "tables need rich: pip install rich")


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


def test_every_command_and_option_is_documented():
    text = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    (commands,) = (each for each in cli._parser()._actions if isinstance(each, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        assert f"## convgru {name}" in text
        for action in parser._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or f"`{option}" in text, (name, option)
