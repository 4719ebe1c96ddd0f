"""What a file holds is shown escaped and cut: no terminal obeys it, and no screen is flooded."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import convgru
from convgru.errors import printable

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e\x00"
HARMLESS = convgru.importers.export(convgru.init(convgru.network("lstm", 1, 2)), "convlstm_pytorch")
FILES = {
    "names beside a network": {**HARMLESS, f"head{EVIL}.weight": np.zeros(3, "f4"), "x" * 100_000: np.zeros(3, "f4")},
    "the prefix of a network": {f"a{EVIL}.{name}": array for name, array in HARMLESS.items()},
    "several networks": {f"{n}{EVIL}{'y' * 9000}.{name}": a for n in range(3) for name, a in HARMLESS.items()},
    "no network": {f"{EVIL}{'z' * 100_000}": np.zeros(3, "f4")},
}


@pytest.mark.parametrize("name", FILES)
def test_inspect_and_convert(convgru_cli, tmp_path, name):
    save_file(FILES[name], tmp_path / "w.safetensors")
    for arguments in (["inspect", "w.safetensors"], ["convert", "w.safetensors", "v.safetensors"]):
        result = convgru_cli(*arguments)
        shown = result.stdout + result.stderr
        assert "Traceback" not in shown
        assert all(c.isprintable() or c == "\n" for c in shown), ascii(shown)
        assert len(shown) < 20_000


def test_errors_are_escaped_and_cut(tmp_path):
    save_file(FILES["no network"], tmp_path / "w.safetensors")
    with pytest.raises(convgru.WeightsError) as caught:
        convgru.read(tmp_path / "w.safetensors")
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    assert len(str(caught.value)) < 5_000


def test_printable():
    assert printable("a\x1b[2J\x9b\u202eé\n") == "a\\x1b[2J\\x9b\\u202eé\n"
    assert printable("ab" * 200, 3) == "aba… (400 characters)"
    assert printable("\x1b" * 200, 8) == "\\x1b\\x1b… (200 characters)"  # cut as it is shown


def test_closed_stdout_and_too_little_memory(python, tmp_path):
    convgru.write(convgru.init(convgru.network("gru", 1, 2)), tmp_path / "w.safetensors")
    closed = 'import sys; sys.stdout = None\nfrom convgru.cli import main\nraise SystemExit(main(["inspect", "w.safetensors"]))'
    result = python(closed)
    assert (result.returncode, result.stderr) == (0, "")
    large = "import numpy as np\nimport convgru.cli.commands as c\ndef fail(args): np.zeros(2**58)\nc.inspect = fail\n"
    result = python(f'{large}from convgru.cli import main\nraise SystemExit(main(["inspect", "w.safetensors"]))')
    assert result.returncode == 1
    assert result.stderr.startswith("convgru: not enough memory: Unable to allocate 2.00 EiB")
