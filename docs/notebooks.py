"""Make a notebook of an example's page: its words, its script in cells, and what it printed."""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
from nbformat import v4

BEGIN = "<!-- output: begin -->"
NEEDS = "Runs wherever convgru is installed with what the first cell imports. The outputs are those of the site."


def notebook(page: Path) -> str:
    """Return the notebook (.ipynb) of a page that docs/examples/pages.py wrote."""
    text = page.read_text(encoding="utf-8")
    words, _, rest = text.partition(BEGIN)
    printed = re.findall(r"^```text\n(.*?)^```$", rest, re.DOTALL | re.MULTILINE)
    (code,) = re.findall(r"^```py\n(.*?)^```$", rest, re.DOTALL | re.MULTILINE)
    outputs = [v4.new_output("stream", name="stdout", text="".join(printed))]
    picture = page.with_suffix(".png")
    if picture.name in rest:
        data = {"image/png": base64.b64encode(picture.read_bytes()).decode("ascii")}
        outputs.append(v4.new_output("display_data", data=data))
    cells = [v4.new_markdown_cell(f"{words.strip()}\n\n{NEEDS}")]
    cells += [v4.new_code_cell(source, execution_count=n) for n, source in enumerate(sources(code), 1)]
    cells.append(v4.new_code_cell("result = main()", execution_count=len(cells), outputs=outputs))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # by default random: the site would differ from build to build
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = v4.new_notebook(cells=cells, metadata={"kernelspec": python, "language_info": {"name": "python"}})
    nbformat.validate(made)
    return str(nbformat.writes(made))


def sources(code: str) -> Iterator[str]:
    """Yield the cells of a script: what stands before its definitions, then each of them.

    The last lines, which call ``main`` where the file is run as a script, are left out.
    """
    lines, starts = code.splitlines(), [1]
    defined = False
    for node in ast.parse(code).body:
        defines = isinstance(node, (ast.FunctionDef, ast.ClassDef))
        if defines or defined:
            starts.append(_first_line(node, lines))
        defined = defines
    starts.append(len(lines) + 1)
    for start, end in pairwise(starts):
        cell = "\n".join(lines[start - 1 : end - 1]).strip("\n")
        if cell and not cell.startswith("if __name__"):
            yield cell


def _first_line(node: ast.stmt, lines: list[str]) -> int:
    """The line in which a statement begins, with its decorators and the comments above it."""
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return first
