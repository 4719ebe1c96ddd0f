"""Checks of the command line's results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def assert_fails(result: subprocess.CompletedProcess[str], message: str, code: int = 1) -> None:
    """Assert that the command ended with ``code`` and said ``message`` on stderr.

    There is nothing on stdout, and no traceback.
    """
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def assert_no_finds(formats: str, mutants: int) -> None:
    """Fuzz the readers of some formats with a fixed seed, and assert that nothing was found."""
    command = [sys.executable, str(Path(__file__).parents[1] / "fuzz")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*command, "--formats", formats, "--mutants", str(mutants)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert all(f"\n{name} " in done.stdout for name in formats.split(",")), done.stdout
