"""Fixtures of the core's tests: Python in a subprocess, with modules blocked or not; the goldens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convgru

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
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
def golden() -> Callable[[str], tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Meta, state dict and the other arrays of a golden, by its name."""

    def load(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
        with np.load(GOLDENS / f"{name}.npz", allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        meta = json.loads(str(arrays.pop("meta")))
        start = "state_dict/"
        state_dict = {key.removeprefix(start): arrays.pop(key) for key in list(arrays) if key.startswith(start)}
        return meta, state_dict, arrays

    return load


@pytest.fixture
def random_weights() -> Callable[[convgru.NetworkSpec], convgru.Weights]:
    """Weights of a network, all their numbers random."""

    def draw(spec: convgru.NetworkSpec) -> convgru.Weights:
        rng, shapes = np.random.default_rng(1), convgru.parameter_shapes(spec)
        return convgru.Weights(spec, {name: rng.standard_normal(shape) for name, shape in shapes.items()})

    return draw
