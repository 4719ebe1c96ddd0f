"""The parity table on every installed backend, by the budgets of ``convgru parity``."""

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
        assert row.ok, f"{backend} {row.quantity} ({row.leaf}) error {row.error:.3g} over {row.budget:.3g}"


# JAX and Flax run the same compiled programs, so a case runs on both of them in one process, one
# after the other.
GROUPS = [[name for name in group if name in INSTALLED] for group in (["torch"], ["jax", "flax"], ["mindspore"])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("backends", [group for group in GROUPS if group], ids="+".join)
def test_case(backends, name, dtype):
    for backend in backends:
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
