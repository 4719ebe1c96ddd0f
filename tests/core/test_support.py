"""The tests' own comparison of numbers catches what it should."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_close, load_golden, relative_error

ONE = np.ones(3)


@pytest.mark.parametrize(
    ("got", "want", "options", "message"),
    [
        (ONE + 1e-6, ONE, {}, "error 1e-06"),
        (ONE + 1e-6, ONE, {"budget": 9e-7}, "error 1e-06"),
        ((ONE, ONE + 1), (ONE, ONE), {"what": "state"}, r"state\[1\]: error 1"),
        ({"h": ONE, "c": ONE}, {"h": ONE}, {}, r"expected keys \['h'\]"),
        ((ONE,), (ONE, ONE), {}, "expected 2 entries, got 1"),
        (ONE, (ONE,), {}, "expected a tuple"),
        (ONE[:2], ONE, {}, r"expected \(3,\), got \(2,\)"),
        (ONE * np.nan, ONE, {}, "not finite"),
        (ONE, ONE * np.inf, {}, "not finite"),
    ],
)
def test_assert_close_fails(got, want, options, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(got, want, **options)


def test_assert_close_measures_in_the_coarser_dtype_and_by_the_largest_number():
    assert_close(ONE.astype(np.float32) * np.float32(1 + 2**-20), ONE)
    assert_close(1e6 * ONE + 1e-9, 1e6 * ONE)
    assert relative_error({"a": (10 * ONE, 3 * ONE)}, {"a": (8 * ONE, 2 * ONE)}) == 0.5


def test_a_golden_may_be_changed_by_whoever_loads_it():
    first = load_golden("convlstm_pytorch")[1]
    next(iter(first.values()))[:] = 0
    assert next(iter(load_golden("convlstm_pytorch")[1].values())).any()
