"""The scripts in examples/, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def example(name: str) -> ModuleType:
    """Import ``examples/{name}.py``; its ``main`` is not run."""
    return module(f"examples/{name}.py")


def module(path: str) -> ModuleType:
    """Import a file of the checkout that is in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
