"""Hooks of the site: pages made of the files beside docs/, for there is no second copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages; their links are from the top of the checkout."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        for name, path in PAGES.items():
            text = text.replace(f"]({path})", f"]({name})")
        files.append(File.generated(config, page, content=text))
    return files
