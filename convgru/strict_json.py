"""Parse untrusted JSON: bounded length and depth, no duplicate keys, no NaN or Infinity."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 32
# A string that is not closed goes to the end: without a match there, each of its quotes would be
# tried in turn, in quadratic time.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def loads(text: str, what: str, max_length: int, max_depth: int = MAX_DEPTH) -> Any:
    """Parse ``text``, which errors call ``what``. Raises ValueError unless it is plain JSON.

    Plain is what has no duplicate keys, no NaN or Infinity, and keeps the bounds.
    """
    if len(text) > max_length:
        raise ValueError(f"{what} expected at most {max_length} characters, got {len(text)}")
    _check_depth(text, what, max_depth)
    try:
        return json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} expected JSON text, got {text[:60]!r}: {error}") from None


def _check_depth(text: str, what: str, max_depth: int) -> None:
    # Counted before parsing: how deep a parser may recurse differs between versions of Python.
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > max_depth:
            raise ValueError(f"{what} expected JSON at most {max_depth} levels deep, got more")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"key {key[:80]!r} is there twice")
        mapping[key] = value
    return mapping


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")
