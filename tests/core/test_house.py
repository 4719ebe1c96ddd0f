"""What CONTRIBUTING.md says of the files: one sentence on top, short, narrow, and in its tables."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("convgru", "backends", "tests", "examples", "benchmarks")
FILES = {path.relative_to(ROOT).as_posix(): path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
TOP_OF_CONVGRU = 24
"""How many modules and packages one should have to look through."""


def named_paths() -> list[str]:
    """The paths in backticks in the tables of CONTRIBUTING.md, {a,b} written out."""
    rows = [line for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row) if name.endswith(".py") or "/" in name]
    pieces = [[piece.split(",") for piece in re.split(r"[{}]", name)] for name in names]
    return sorted({"".join(choice).rstrip("/") for piece in pieces for choice in product(*piece)})


def documentation_lines(path: Path) -> dict[int, str]:
    """The lines of a file's docstrings, other bare strings and comments, by number."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    comments = {
        token.start[0]: token.line.rstrip() if token.line.lstrip()[0] == "#" else token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    strings = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return comments | {n: lines[n - 1] for node in strings for n in range(node.lineno, (node.end_lineno or 0) + 1)}


def test_files_begin_with_a_sentence():
    assert not [
        name for name, path in FILES.items() if not path.read_text(encoding="utf-8").startswith(('"""', 'r"""'))
    ]


def test_files_are_short():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    assert not {name: length for name, length in lengths.items() if length > 300}


def test_docstrings_and_comments_are_narrow():
    wide = [
        (name, n) for name, path in FILES.items() for n, line in documentation_lines(path).items() if len(line) > 100
    ]
    assert not wide


def test_the_checks_see_the_files():
    assert {"convgru/equations.py", "backends/convgru_torch/loop.py", "tests/core/test_house.py"} <= FILES.keys()
    here = documentation_lines(Path(__file__))
    assert here[1].startswith('"""What CONTRIBUTING.md says')


def test_the_top_of_convgru_can_be_looked_through():
    top = {
        path.stem for path in (ROOT / "convgru").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert {"equations", "spec"} <= top
    assert len(top) <= TOP_OF_CONVGRU, sorted(top)


@pytest.mark.parametrize("path", named_paths())
def test_contributing_names_files_that_exist(path):
    """From the checkout, from convgru or a room in it, from a framework's room, from the tests."""
    places = ("", "convgru/", "convgru/*/", "convgru/*/*/", "backends/*/", "tests/*/")
    assert any(any(ROOT.glob(f"{place}{path}{suffix}")) for place in places for suffix in ("", ".py"))


def test_contributing_names_the_rooms():
    assert {"convgru/spec", "convgru/equations.py", "convgru/jax", "checkpoint*.py", "cells.py"} <= set(named_paths())
