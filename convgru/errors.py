"""The exceptions that convgru defines."""

from __future__ import annotations

MOST = 4000
"""Length to which the message of a WeightsError is cut."""


class WeightsError(ValueError):
    """Weights, or a file of weights, that are not what they should be.

    Messages repeat names out of files, so that what a terminal would obey is escaped in them, and
    they are cut to ``MOST`` characters.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, MOST))


def printable(text: object, most: int = 200) -> str:
    """Return a text out of a file as it may be shown: what does not print escaped, and cut.

    Lines stay lines. The cut text says how long the whole is.
    """
    whole = str(text)
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in whole[:most])
    if len(whole) <= most and len(shown) <= most:
        return shown
    return f"{shown[:most]}… ({len(whole)} characters)"


class UsageError(ValueError):
    """Arguments of the command line that do not go together: exit code 2."""


class UnsupportedError(TypeError):
    """A framework cannot compute this on this device in this dtype; the message says why."""
