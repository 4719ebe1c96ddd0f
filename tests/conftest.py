"""Leaves out the tests of frameworks that are not installed, and says so at the head of the report."""

from __future__ import annotations

from importlib.util import find_spec

MISSING = [name for name in ("torch", "jax", "flax", "mindspore", "keras") if find_spec(name) is None]
collect_ignore = MISSING


def pytest_report_header():
    return [f"left out: tests/{name}, because {name} is not installed" for name in MISSING]
