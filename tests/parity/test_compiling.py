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


@pytest.mark.parametrize("quick", [False, True])
def test_a_report_says_what_was_compiled_without_optimisation(quick):
    report = parity.run(CASE, backends=["jax", "torch"], jobs=2, quick=quick, controls=False)
    assert report.ok, report.failures()
    assert report.unoptimised == (["jax float64"] if quick else [])
    assert {(row.backend, row.dtype) for row in report.rows} >= {("jax", "float32"), ("jax", "float64")}
