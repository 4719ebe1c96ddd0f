"""A call imports only the framework it names, opens each file once, recognises each layout once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import convgru
from convgru import files, importers, registry
from convgru.cli import main

INSTALLED = [name for name, found in registry.available().items() if not isinstance(found, str)]
CALLS = (
    "convgru.build(w, {name!r})",
    "convgru.port(convgru.build(w, {name!r}), {name!r})",
    "convgru.parity.compare(w, size=(4, 4), backends=[{name!r}], gradients=False)",
    "main(['parity', 'w.safetensors', '--backends', {name!r}, '--size', '4,4', '--no-gradients'])",
    "main(['convert', 'w.safetensors', 'v.safetensors', '--to', {name!r}])",
)
WITHOUT = (
    "convgru.read('w.safetensors')",
    "convgru.inspect('w.safetensors')",
    "convgru.write(w, 'v.safetensors')",
    "main(['inspect', 'w.safetensors'])",
    "main(['convert', 'w.safetensors', 'u.safetensors'])",
    "main(['--help'])",
)
PROGRAM = """
import json, os, sys
import convgru
from convgru.cli import main
w = convgru.init(convgru.network("gru", 1, 2))
out, sys.stdout = sys.stdout, open(os.devnull, "w")
names = ("torch", "jax", "flax", "mindspore", "convgru_torch", "convgru_jax", "convgru_flax", "convgru_mindspore")
loaded = {{}}
for call in {calls!r}:
    try:
        code = eval(call)
    except SystemExit as end:
        code = end.code
    assert not isinstance(code, int) or code == 0, (call, code)
    loaded[call] = [name for name in names if name in sys.modules]
print(json.dumps(loaded), file=out, flush=True)
os._exit(0)  # not a word from a framework that takes leave
"""


def imported_by(calls, folder):
    """The frameworks and backends in a fresh interpreter's sys.modules after each of the calls."""
    convgru.write(convgru.init(convgru.network("gru", 1, 2)), folder / "w.safetensors")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "GLOG_v": "3"}
    command = [sys.executable, "-c", PROGRAM.format(calls=calls)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return {call: set(names) for call, names in json.loads(result.stdout.splitlines()[-1]).items()}


def test_what_needs_no_framework_imports_none(tmp_path):
    found = imported_by(WITHOUT, tmp_path)
    assert not any(found.values()), found


@pytest.mark.parametrize("name", INSTALLED)
def test_what_names_a_framework_imports_no_other(tmp_path, name):
    suffix = next((suffix for suffix, owner in files.FRAMEWORKS.items() if owner == name), None)
    calls = [call.format(name=name) for call in CALLS]
    calls += [f"main(['convert', 'w.safetensors', 'v{suffix}'])", f"convgru.read('v{suffix}')"] if suffix else []
    allowed = {name, f"convgru_{name}"} | ({"jax", "convgru_jax"} if name == "flax" else set())  # Flax stands on JAX
    for call, found in imported_by(calls, tmp_path).items():
        assert name in found, call
        assert found <= allowed, call


OPENED: list[str] = []
"""Files opened for reading since the list was cleared."""


def _record(event, arguments):
    if (
        event == "open"
        and isinstance(arguments[0], (str, os.PathLike))
        and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
    ):
        OPENED.append(os.path.basename(arguments[0]))


@pytest.fixture(scope="module")
def opened():
    """The names of the files opened for reading; the audit hook stays until the process ends."""
    sys.addaudithook(_record)
    return OPENED


def _write(weights, path):
    foreign = path.suffix in files.READ_ONLY
    convgru.write(weights, path, "keras" if path.suffix == ".h5" else "convlstm_pytorch" if foreign else None)


READABLE = [
    *(suffix for suffix, owner in files.FRAMEWORKS.items() if owner in INSTALLED),
    *(".safetensors", ".npz", ".weights.h5"),
]


@pytest.mark.parametrize("suffix", READABLE)
def test_a_file_is_opened_once(tmp_path, opened, suffix):
    if suffix == ".weights.h5":
        pytest.importorskip("h5py")
    path = tmp_path / f"w{suffix}"
    _write(convgru.init(convgru.network("lstm", 2, 3)), path)
    for look in (convgru.read, convgru.inspect):
        look(path)  # whatever is imported on the way has been
        opened.clear()
        look(path)
        assert opened.count(path.name) == 1, look


@pytest.fixture
def recognitions(monkeypatch):
    """One entry for each time that arrays are searched for layouts."""
    calls = []
    search = importers.search

    def counted(*arguments, **options):
        calls.append(arguments)
        return search(*arguments, **options)

    monkeypatch.setattr(importers, "search", counted)
    return calls


@pytest.mark.parametrize("command", ["inspect", "convert", "parity"])
def test_a_command_opens_a_file_and_recognises_its_layout_once(tmp_path, opened, recognitions, command, capsys):
    source = tmp_path / "f.npz"
    convgru.write(convgru.init(convgru.network("lstm", 2, 3)), source, layout="convlstm_pytorch")
    rest = {"inspect": [], "convert": [str(tmp_path / "v.safetensors")]}
    options = ["--backends", INSTALLED[0], "--size", "4,4", "--no-gradients"] if command == "parity" else rest[command]
    opened.clear()
    assert main([command, str(source), *options]) == 0, capsys.readouterr().err
    assert opened.count(source.name) == 1
    assert len(recognitions) == 1
