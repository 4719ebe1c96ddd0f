"""The notebooks of the examples: whole scripts in valid cells, with what the pages show."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_its_script_and_shows_what_it_printed(site, script):
    path = site / "examples" / f"{script.stem}.ipynb"
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    *cells, last = (cell for cell in made.cells if cell.cell_type == "code")
    expected = ast.parse(script.read_text(encoding="utf-8")).body[1:-1]  # the docstring, and if __name__ …
    assert [ast.dump(node) for cell in cells for node in ast.parse(cell.source).body] == list(map(ast.dump, expected))
    assert len(cells) > 2
    assert last.source == "result = main()"
    printed, *pictures = last.outputs
    page = path.with_suffix(".html").read_text(encoding="utf-8")
    assert printed.text
    assert len(pictures) == (f'src="{script.stem}.png"' in page)
    assert f'<a href="{path.name}" download' in page
