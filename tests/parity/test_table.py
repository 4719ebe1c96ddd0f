"""Every case of the table on every installed backend: the same problems and budgets as ``convgru parity``."""

from functools import cache

import pytest

from convgru import parity, registry
from convgru.errors import UnsupportedError
from convgru.parity import cases, faults, oracle
from convgru.parity import table as case_table

INSTALLED = [name for name, backend in registry.available().items() if not isinstance(backend, str)]
TABLE = {case.name: case for case in case_table.table()}
HALF = [name for name in TABLE if name.endswith(("-2d", "-layers"))]


@cache
def solution(name: str, dtype: str) -> oracle.Solution:
    """Backends share what the reference says of a case."""
    case = TABLE[name]
    return oracle.solve(name, cases.problem(case, dtype), case.steps)


def check(backend: str, name: str, dtype: str, device: str) -> None:
    runner = registry.get(backend)
    with runner.precise():
        rows = oracle.compare(solution(name, dtype), runner, backend, device)
    assert {row.quantity for row in rows} == {"output", "state", "gradient"}
    for row in rows:
        assert row.ok, f"{row.quantity} ({row.leaf}) error {row.error:.3g} over budget {row.budget:.3g}"


# On JAX most of the time goes into compiling each case, and Flax runs JAX's core. So that all of this ends in minutes, JAX
# runs every third case in float64 and Flax every sixth, which shows that its shells hand everything on.
# `convgru parity` runs them all.
EVERY = {("jax", "float64"): 3, ("flax", "float32"): 6, ("flax", "float64"): 6}
CHOSEN = [
    (backend, name, dtype)
    for backend in INSTALLED
    for dtype in ("float32", "float64")
    for index, name in enumerate(TABLE)
    if index % EVERY.get((backend, dtype), 1) == 0
]


@pytest.mark.parametrize(("backend", "name", "dtype"), CHOSEN)
def test_case(backend, name, dtype):
    check(backend, name, dtype, "cpu")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("backend", INSTALLED)
def test_half_precision(backend, name, dtype):
    reason = unsupported(backend, dtype)
    if reason is not None:
        pytest.skip(reason)
    check(backend, name, dtype, "cpu")


@cache
def unsupported(backend: str, dtype: str) -> str | None:
    """Why a backend computes nothing in a dtype; None if it does."""
    problem = cases.problem(TABLE["gru-before-1d"], dtype)
    try:
        registry.get(backend).execute(problem.weights, problem.x)
    except UnsupportedError as reason:
        return str(reason)
    return None


@pytest.mark.parametrize("backend", INSTALLED)
def test_planted_faults_are_caught(backend):
    report = parity.run([TABLE["gru-before-1d"]], backends=[backend])
    assert report.ok, report.failures()
    assert len(report.controls) == 2 * len(faults.CONTROLS)


@pytest.mark.parametrize("fault", faults.FAULTS)
@pytest.mark.parametrize("backend", INSTALLED)
def test_a_planted_fault_fails_the_run(backend, fault):
    names = set(faults.CONTROLS.values())
    report = parity.run([TABLE[name] for name in sorted(names)], backends=[backend], dtypes=["float32"], fault=fault)
    assert not report.ok
