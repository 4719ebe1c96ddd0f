"""Checks of the command line's results."""

from __future__ import annotations

import subprocess


def assert_fails(result: subprocess.CompletedProcess[str], message: str, code: int = 1) -> None:
    """The command ended with ``code``, said ``message`` on stderr, printed nothing and showed no
    traceback.
    """
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
