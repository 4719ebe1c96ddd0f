"""The command parity without frameworks: nothing to compare, a file, a module of the user's own."""

from __future__ import annotations

import json

from support import assert_fails

import convgru


def test_a_parity_run_that_compared_nothing_fails(bare_cli):
    result = bare_cli("parity", "--json", "--jobs", "1")
    assert result.returncode == 1, result.stderr
    assert json.loads(result.stdout)["ok"] is False
    asked = bare_cli("parity", "--backends", "torch", "--jobs", "1")
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


def test_parity_of_a_module_of_ones_own(bare_cli, tmp_path):
    """The module lies in the working directory, which the console script has not in its path."""
    convgru.write(convgru.init(convgru.network("gru", 2, 3)), tmp_path / "w.safetensors")
    (tmp_path / "mine_for_cli.py").write_text(MODULE)

    def run(name, *options):
        module = ("--module", f"mine_for_cli:{name}")
        return bare_cli("parity", "w.safetensors", *module, *options, before="import sys; sys.path.remove('')")

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


def test_json_takes_no_path(bare_cli, file):
    """``parity --json FILE`` compares the file, and leaves it as it is."""
    before = file.read_bytes()
    result = bare_cli("parity", "--json", "w.safetensors")
    assert json.loads(result.stdout)["failures"] == ["nothing was compared: no backend is installed"]
    assert file.read_bytes() == before


def test_parity_of_a_file_takes_prefix_layout_and_hints(bare_cli, two_systems):
    """FILE is read as inspect and convert read it; what was assumed goes to stderr."""

    def run(*arguments):
        return bare_cli("parity", "f.npz", *arguments)

    assert_fails(run(), "choose one by prefix=: 'decoder.' (convlstm_pytorch)")
    assert "nothing was compared" in run("--prefix", "decoder.").stdout
    assert_fails(run("--prefix", "decoder.", "--layout", "keras"), "no known layout fits")
    assert_fails(run("--prefix", "decoder.", "--hint", "hidden_dim=7"), "hidden_dim")
