"""Checks of the command line's results."""

from __future__ import annotations

import subprocess


def assert_fails(result: subprocess.CompletedProcess[str], message: str, code: int = 1) -> None:
    """Assert that the command ended with ``code`` and said ``message`` on stderr.

    There is nothing on stdout, and no traceback.
    """
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
