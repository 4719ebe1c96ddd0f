"""Make tests/support importable; leave out, and report, tests whose framework is not installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

from convgru.parity.processes import compile_quickly, cores


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


def pytest_addoption(parser):
    parser.addoption("--optimised", action="store_true", help="let XLA compile the tests' programs as it does users'")


def pytest_configure(config):
    _hear_interrupts()
    _keep_to_a_core()
    _compile_quickly(config)


def _hear_interrupts() -> None:
    """Let SIGINT interrupt, which a shell's background jobs ignore, and all that they start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep_to_a_core() -> None:
    """Give each process of pytest-xdist a core: frameworks that see more of them wait for them."""
    worker, mine = os.environ.get("PYTEST_XDIST_WORKER", ""), cores()
    if hasattr(os, "sched_setaffinity") and int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)) == len(mine) > 1:
        os.sched_setaffinity(0, [mine[int(worker.removeprefix("gw"))]])


def _compile_quickly(config) -> None:
    """Let XLA compile quickly, before JAX is imported.

    Tests compile hundreds of small programs and run each once. tox runs JAX's float32 cases of the
    LSTM with ``--optimised`` too, and CI's nightly run those of all cells.
    """
    if not config.getoption("--optimised"):
        compile_quickly()


MISSING = [name for name in ("torch", "jax", "flax", "mindspore", "keras") if importlib.util.find_spec(name) is None]
collect_ignore = MISSING


def pytest_report_header():
    return [f"left out: tests/{name}, because {name} is not installed" for name in MISSING]
