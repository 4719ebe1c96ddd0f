"""Hooks of the site: pages made of the files beside docs/, and a notebook of each example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import notebooks
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
EXAMPLES = {f"examples/{path.name}": path for path in sorted(DOCS.glob("examples/*.md")) if path.stem != "index"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, whose links are from the top of the checkout, and the notebooks."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        for name, path in PAGES.items():
            text = text.replace(f"]({path})", f"]({name})")
        files.append(File.generated(config, page, content=text))
    for page, path in EXAMPLES.items():
        name = Path(page).with_suffix(".ipynb").as_posix()
        files.append(File.generated(config, name, content=notebooks.notebook(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **rest: Any) -> str:
    """Link an example's notebook, which is made with the site, from its page."""
    if page.file.src_uri not in EXAMPLES:
        return markdown
    link = f'<a href="{Path(page.file.src_uri).stem}.ipynb" download>Download as a notebook</a>'
    return markdown.replace(notebooks.BEGIN, f"{link}\n\n{notebooks.BEGIN}", 1)
