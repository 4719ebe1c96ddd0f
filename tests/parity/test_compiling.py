"""XLA's programs may be kept from one run to the next, and those of float64 compiled quickly."""

import pytest

from convgru import parity
from convgru.parity import table as case_table

jax = pytest.importorskip("jax")
CASE = [case for case in case_table.table() if case.name == "rnn-tanh-1d"]


def test_the_second_run_compiles_nothing(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    kept = []
    for _ in range(2):
        jax.clear_caches()
        report = parity.run(
            CASE, backends=["jax", "flax"], dtypes="float32", controls=False, cache=tmp_path / "programs"
        )
        assert report.ok, report.failures()
        kept.append({path.name for path in (tmp_path / "programs").glob("*-cache")})
    assert kept[0] == kept[1]
    assert len(kept[0]) > 1
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize(("jobs", "quick"), [(2, False), (2, True), (1, True)])
def test_a_report_says_what_was_compiled_without_optimisation(jobs, quick, monkeypatch):
    monkeypatch.delenv("JAX_DISABLE_MOST_OPTIMIZATIONS", raising=False)
    cases = CASE * 5  # more than a single task, which would run in this process
    report = parity.run(cases, backends=["jax", "torch"], jobs=jobs, quick=quick, controls=False)
    assert report.ok, report.failures()
    told = [each for each in report.unoptimised if jobs > 1 or "float64" in each]  # this process has its settings
    assert told == (["jax float64"] if quick else [])
    assert ("compiled without XLA's optimisation: " in str(report)) == bool(report.unoptimised)
    assert {(row.backend, row.dtype) for row in report.rows} >= {("jax", "float32"), ("jax", "float64")}
