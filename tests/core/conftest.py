"""Fixtures of the core's tests: Python in a subprocess, with modules blocked or not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import convgru

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    # The same convgru as in this process, be it the checkout's or an installed one.
    paths = os.pathsep.join(path for path in sys.path if path)
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env=env,
        timeout=120,
        check=False,
    )


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """Run code in a fresh interpreter, in which the modules ``blocked`` are not installed."""

    def run(code: str, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return _run(["-c", (BLOCK.format(names=set(blocked)) if blocked else "") + code], tmp_path)

    return run


@pytest.fixture
def convgru_cli(tmp_path: Path) -> Run:
    """Run ``python -m convgru`` in an empty folder."""
    return lambda *arguments: _run(["-m", "convgru", *map(str, arguments)], tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two ConvGRU layers' weights in the folder in which the command line runs."""
    spec = convgru.network("gru", 2, [3, 4], [3, (1, 5)], padding="valid")
    convgru.write(convgru.init(spec), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"
