"""The command line as users run it: in a process of its own, by exit code, stdout and stderr."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from support import assert_fails

import convgru
from convgru import cli
from convgru.cli import commands
from convgru.registry import FRAMEWORKS


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
        ("parity", "--module", "mine"),
        ("parity", "--jobs", "0"),
        ("inspect", "a", "--hint", "layout=x"),
        ("inspect", "a", "--hint", "prefix=x"),
        ("inspect", "a", "--hint", "spec=1"),
        ("inspect", "a", "--hint", "path=x"),
        ("convert", "a.npz", "b.pt", "--layout", "nope"),
        ("convert", "b.pt", "--to", "jax"),
        ("parity", "w.npz", "--size", "a,b"),
        ("parity", "w.npz", "--size", "8,-8"),
        ("parity", "w.npz", "--size", "8,0"),
        ("doctor", "now"),
    ],
)
def test_bad_usage_is_exit_code_2(convgru_cli, arguments):
    assert_fails(convgru_cli(*arguments), "usage: convgru", code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("parity", "--steps", "3"), "go with a FILE"),
        (("parity", "--size", "8,8"), "go with a FILE"),
        (("parity", "--prefix", "encoder."), "go with a FILE"),
        (("parity", "--hint", "a=1"), "go with a FILE"),
        (("parity", "w.safetensors", "--control", "swapped-gates"), "--control goes with the table of cases"),
        (("parity", "w.safetensors", "--jobs", "2"), "--jobs goes with the table of cases"),
        (("parity", "w.safetensors", "--optimised"), "--optimised goes with the table of cases"),
        (("parity", "w.safetensors", "--dtype", "float32,float64"), "compared in one dtype"),
        (("parity", "w.safetensors", "--steps", "3"), "w.safetensors holds network('gru'"),
        (("parity", "w.safetensors", "--input", "x.npy", "--size", "8,8"), "--size is that of random input"),
        (("parity", "w.safetensors", "--size", "8"), "--size expected 2 numbers for ConvGRU, got 8"),
        (
            ("parity", "w.safetensors", "--size", "99999999,999999"),
            "--size 99999999,999999: the random input alone would take",
        ),
        (("convert", "w.safetensors", "w.txt"), "w.txt: expected a suffix of .safetensors"),
        (("bench", "--csv", "a", "--output", "./a"), "--output and --csv expected different files, got a for both"),
        (("convert", "w.safetensors", "w.pt", "--to", "flax"), "w.pt: a file of PyTorch, not of Flax"),
        (("convert", ".", "w.safetensors"), "w.safetensors is a file; for a folder SRC, DST must be a folder"),
    ],
)
def test_arguments_that_do_not_go_together_are_exit_code_2(convgru_cli, file, arguments, message):
    assert_fails(convgru_cli(*arguments), message, code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("parity", "--module", "json:__name__"),
            "module json:__name__ expected a function run(spec, arrays, x, state)",
        ),
        (("parity", "--module", "json:none"), "json has no none"),
        (("parity", "w.safetensors", "--input", "w.safetensors"), "expected an array as numpy.save writes it"),
        (("parity", "w.safetensors", "--input", "cut.npz"), "cut.npz: expected an array as numpy.save writes it"),
        (("inspect", "w.safetensors", "--output", "pipe", "--force"), "pipe: expected a file, got something else"),
        (("inspect", "none.npz"), "none.npz"),
    ],
)
def test_bad_input_is_exit_code_1(convgru_cli, file, arguments, message):
    file.with_name("cut.npz").write_bytes(b"PK\x03\x04 cut")
    os.mkfifo(file.with_name("pipe"))
    assert_fails(convgru_cli(*arguments), message)


def test_version_and_help(convgru_cli):
    assert convgru_cli("--version").stdout.strip() == f"convgru {convgru.__version__}"
    shown = convgru_cli("--help").stdout
    assert all(command in shown for command in ("inspect", "convert", "parity", "doctor", "demo"))


def test_doctor_without_frameworks_says_how_to_install_them(bare_cli):
    result = bare_cli("doctor", "--json")
    assert result.returncode == 0, result.stderr
    backends = json.loads(result.stdout)["backends"]
    assert [backend["available"] for backend in backends.values()] == [False] * 4
    assert all(f"pip install 'convgru[{name}]'" in backends[name]["reason"] for name in FRAMEWORKS)
    table = bare_cli("doctor")
    assert table.returncode == 0
    assert "mindspore: convgru.mindspore needs MindSpore: pip install 'convgru[mindspore]'" in table.stdout


BROKEN = """
import importlib
import convgru.cli.commands
def broken(name):
    raise OSError("libtorch.so: cannot open shared object file")
importlib.import_module = broken
"""


def test_doctor_survives_a_broken_framework(bare_cli):
    result = bare_cli("doctor", "--json", before=BROKEN, blocked=())
    assert result.returncode == 0, result.stderr
    assert "PyTorch does not load: OSError: libtorch.so" in json.loads(result.stdout)["backends"]["torch"]["reason"]


COMMANDS_THAT_WRITE = {
    "inspect": ["inspect", "w.safetensors"],
    "doctor": ["doctor"],
    "parity": ["parity", "w.safetensors"],
}


@pytest.mark.parametrize("name", COMMANDS_THAT_WRITE)
def test_output_keeps_what_exists_unless_forced(bare_cli, file, name):
    """A report never takes the place of a checkpoint, nor of an older report."""
    target = file.with_name("model.pt")
    target.write_bytes(b"mine")

    def run(*options):
        return bare_cli(*COMMANDS_THAT_WRITE[name], "--output", "model.pt", *options)

    assert_fails(run(), "model.pt exists: --force replaces it")
    assert_fails(run("--json"), "model.pt exists: --force replaces it")
    assert target.read_bytes() == b"mine"
    printed = run("--json", "--force")
    assert json.loads(target.read_text()) == json.loads(printed.stdout), printed.stderr
    target.unlink()
    shown = run()
    assert json.loads(target.read_text()) == json.loads(printed.stdout)
    assert "│" in shown.stdout or "not compared" in shown.stdout  # tables, since --json was not given


def test_a_report_whose_file_is_taken_meanwhile_is_printed(tmp_path, capsys):
    (tmp_path / "r.json").write_text("somebody else's")
    args = argparse.Namespace(output=tmp_path / "r.json", force=False, json=False)
    with pytest.raises(FileExistsError, match=r"r\.json exists"):
        commands.publish(args, '{"ok": true}')
    assert capsys.readouterr().out == '{"ok": true}\n'
    assert (tmp_path / "r.json").read_text() == "somebody else's"


def test_the_demo_keeps_a_file_that_appears_while_it_trains(tmp_path, monkeypatch):
    console, run = pytest.importorskip("rich.console"), pytest.importorskip("convgru.nowcasting.demo.run")
    target = tmp_path / "nowcaster.safetensors"

    def train(*_):
        target.write_bytes(b"somebody else's")
        return convgru.init(convgru.network("gru", 1, 2))

    monkeypatch.setattr(run, "missing", dict)
    monkeypatch.setattr(run, "_train", train)
    with pytest.raises(FileExistsError, match=r"nowcaster\.safetensors exists"):
        run.run(console.Console(), tmp_path, steps=1, seed=0)
    assert target.read_bytes() == b"somebody else's"


def test_output_into_no_folder_is_said_before_the_work(convgru_cli, file):
    assert_fails(convgru_cli("inspect", "w.safetensors", "--output", "no/r.json"), "there is no folder no")
    assert_fails(convgru_cli("inspect", "w.safetensors", "--output", ".", "--force"), ". is a folder")


def test_machines_need_no_rich_and_people_are_told(bare_cli, file):
    blocked = (*FRAMEWORKS, "rich")
    assert bare_cli("inspect", str(file), "--json", blocked=blocked).returncode == 0
    result = bare_cli("inspect", str(file), blocked=blocked)
    assert_fails(result, "tables need rich: pip install rich")


def test_every_command_and_option_is_documented():
    text = (Path(__file__).resolve().parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    (commands,) = (each for each in cli._parser()._actions if isinstance(each, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        assert f"## convgru {name}" in text
        for action in parser._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or f"`{option}" in text, (name, option)
