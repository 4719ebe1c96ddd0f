"""Fixtures of the core's tests: Python and the command line in a subprocess, files to read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import load_golden

import convgru
from convgru.registry import FRAMEWORKS

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""
MAIN = """
import sys
from convgru.cli import main
sys.exit(main({arguments!r}))
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
def bare_cli(python: Run) -> Run:
    """Run the command line where the modules ``blocked`` are not installed, after ``before``."""

    def run(*arguments: str, blocked: tuple[str, ...] = tuple(FRAMEWORKS), before: str = "") -> Any:
        return python(before + MAIN.format(arguments=list(arguments)), blocked=blocked)

    return run


@pytest.fixture
def two_systems(tmp_path: Path) -> Path:
    """f.npz: networks of two systems, and an array of neither, in the command line's folder."""
    arrays = {f"encoder.{name}": array for name, array in load_golden("pytorch_convgru")[1].items()}
    arrays |= {f"decoder.{name}": array for name, array in load_golden("convlstm_pytorch")[1].items()}
    np.savez(tmp_path / "f.npz", **arrays, **{"head.weight": np.ones((1, 2, 1, 1))})
    return tmp_path / "f.npz"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two ConvGRU layers' weights in the folder in which the command line runs."""
    spec = convgru.network("gru", 2, [3, 4], [3, (1, 5)], padding="valid")
    convgru.write(convgru.init(spec), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"
