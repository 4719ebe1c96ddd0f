"""Make tests/support importable; leave out, and report, tests whose framework is not installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def _import_support() -> None:
    """Import the folder ``support`` as a package of that name.

    The folder tests/ itself must not be on sys.path: without torch installed, tests/torch would
    answer ``import torch``. The folder support/ itself is: what tests start in processes of their
    own is imported there by its bare name (``from parity_tasks import right``).
    """
    folder = Path(__file__).parent / "support"
    spec = importlib.util.spec_from_file_location(
        "support", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["support"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.append(str(folder))


_import_support()
# Tests compile hundreds of small programs and run each once: half of their time would be XLA's
# optimisation. What is compiled stays the same but for LLVM's part. tests/parity turns it on again.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
MISSING = [name for name in ("torch", "jax", "flax", "mindspore", "keras") if importlib.util.find_spec(name) is None]
collect_ignore = MISSING


def pytest_report_header():
    return [f"left out: tests/{name}, because {name} is not installed" for name in MISSING]
