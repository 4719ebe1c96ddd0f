"""What code that is both run by Python and compiled to a graph asks about the graph."""

from __future__ import annotations

from typing import Any

from mindspore.ops.functional import isconstant
from mindspore.ops.primitive import PrimitiveWithInfer


class _Compiling(PrimitiveWithInfer):
    """True where a graph is compiled, False where Python runs."""

    def __init__(self) -> None:
        super().__init__("compiling")
        self.set_const_prim(True)

    def __infer__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return {"dtype": None, "shape": None, "value": True}

    def __call__(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        return False


compiling = _Compiling()
"""Whether this code is being compiled to a graph."""


def known(shape: Any) -> Any:
    """A shape with -1 for each dimension that is free while a graph compiles."""
    if not compiling():
        return shape
    dimensions = []
    for each in shape:
        dimensions.append(each if isconstant(each) else -1)
    return tuple(dimensions)
