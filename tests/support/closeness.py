"""One measure of error for arrays and trees of arrays of any framework, and one assertion on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np


def relative_error(got: Any, want: Any) -> float:
    """Return max|got − want| / max(1, max|want|), the largest over the leaves of two trees.

    Trees are tuples, lists and mappings of arrays of NumPy, torch, JAX or MindSpore. Fails if
    structures or shapes differ, or if a result is not finite where the wanted number is.
    """
    return max((error for _, error in _errors(got, want, "")), default=0.0)


def assert_close(got: Any, want: Any, *, eps: float | None = None, budget: float | None = None, what: Any = "") -> None:
    """Assert that the relative error of every leaf is within a bound.

    Args:
        got: An array, or a tree of arrays (see ``relative_error``).
        want: The same tree of wanted values.
        eps: The bound in units of the machine epsilon of the coarser dtype of the two leaves.
            Default: 64.
        budget: The bound as a number (for example that of ``convgru.parity.budget``), instead of
            ``eps``.
        what: Named in the message if the assertion fails.
    """
    assert eps is None or budget is None, "either eps or budget"
    units = 64.0 if eps is None else eps
    bounds = [units * max(_epsilon(a), _epsilon(b)) if budget is None else budget for _, a, b in _pairs(got, want, "")]
    for (where, error), bound in zip(_errors(got, want, ""), bounds, strict=True):
        assert error <= bound, f"{what}{where}: error {error:.3g}, allowed {bound:.3g}"


def as_float64(value: Any) -> np.ndarray:
    """Return an array of any framework as a NumPy array in float64."""
    if hasattr(value, "asnumpy"):  # MindSpore
        value = (value.float() if "BFloat16" in str(value.dtype) else value).asnumpy()
    elif hasattr(value, "detach"):  # torch
        value = value.detach().cpu().double()
    return np.asarray(value).astype(np.float64)


def _errors(got: Any, want: Any, where: str) -> Iterator[tuple[str, float]]:
    for path, one, other in _pairs(got, want, where):
        a, b = as_float64(one), as_float64(other)
        assert a.shape == b.shape, f"{path or 'shape'}: expected {b.shape}, got {a.shape}"
        assert (np.isfinite(a) == np.isfinite(b)).all(), f"{path}: not finite"
        finite = np.isfinite(b)
        scale = max(1.0, float(np.abs(b[finite]).max(initial=0)))
        yield path, float(np.abs(a[finite] - b[finite]).max(initial=0)) / scale


def _pairs(got: Any, want: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two trees of the same structure, each with its path."""
    if isinstance(want, Mapping):
        assert isinstance(got, Mapping), f"{where or 'tree'}: expected a mapping, got {type(got).__name__}"
        assert got.keys() == want.keys(), f"{where or 'tree'}: expected keys {sorted(want)}, got {sorted(got)}"
        for key in want:
            yield from _pairs(got[key], want[key], f"{where}.{key}")
    elif isinstance(want, (tuple, list)):
        assert isinstance(got, (tuple, list)), f"{where or 'tree'}: expected a tuple, got {type(got).__name__}"
        assert len(got) == len(want), f"{where or 'tree'}: expected {len(want)} entries, got {len(got)}"
        for index, (one, other) in enumerate(zip(got, want, strict=True)):
            yield from _pairs(one, other, f"{where}[{index}]")
    else:
        yield where, got, want


def _epsilon(value: Any) -> float:
    """The machine epsilon of an array's dtype, of float64 for Python's numbers."""
    name = str(getattr(value, "dtype", "float64")).rpartition(".")[2].lower()
    if name == "bfloat16":
        return float(ml_dtypes.finfo(ml_dtypes.bfloat16).eps)
    return float(np.finfo(name).eps) if name.startswith("float") else float(np.finfo(np.float64).eps)
