"""Parsers of command line arguments that several commands take."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection


def names_of(allowed: Collection[str]) -> Callable[[str], list[str]]:
    """Return a parser of comma-separated names, each of which must be one of ``allowed``."""

    def names(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",")]
        unknown = [name for name in chosen if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(allowed)}, got {','.join(unknown)!r}")
        return chosen

    return names


def positive(text: str) -> int:
    """Parse a positive number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)
