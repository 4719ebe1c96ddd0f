"""What a foreign layout is: which parts of which arrays are which gates of which canonical parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Piece:
    """A block of a foreign array that holds rows of one canonical parameter of one layer.

    ``key`` is the array's name, ``{layer}`` standing for the layer's number; ``target`` the canonical short name. ``rows``
    names the gates that the rows of this block hold, in the foreign order, as ``spec.GATES`` calls them; ``first`` is
    how many gates stand above the block, ``total`` how many the whole array holds. ``columns`` says which input channels
    the block takes of an array whose columns are [x, h]: ``x``, ``h``, or both for an array that is not joined (``""``).
    ``negative`` gates change their sign. Several pieces with one target and gate are summed, the first being where an
    export puts the sum.
    """

    key: str
    target: str
    rows: str
    first: int = 0
    total: int = 0
    columns: str = ""
    negative: str = ""

    @property
    def gates(self) -> int:
        """How many gates the whole array holds."""
        return self.total or len(self.rows)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches ``key`` with anything before it: groups ``prefix`` and ``layer``."""
        before, _, after = self.key.partition("{layer")
        spec, _, after = after.partition("}")
        # "{layer:02d}" is written with leading zeros, "{layer}" without
        number = r"\d\d+" if spec else r"0|[1-9]\d*"
        return re.compile(rf"(?P<prefix>(?:.*\.)?){re.escape(before)}(?P<layer>{number}){re.escape(after)}", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """How one implementation stores its networks; everything is data, read by import and export alike."""

    name: str
    title: str
    """Who wrote it, for people."""
    cell: str
    pieces: tuple[Piece, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What ``spec.network`` is to be told besides sizes."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Constructor arguments that the arrays already answer: hint -> the size that it must agree with."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """Constructor arguments that arrays cannot answer: hint -> the argument of ``spec.network`` that it becomes."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments of which only one value is read: hint -> that value."""
    ignored: tuple[str, ...] = ()
    """Constructor arguments that do not change what the weights mean."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Pattern of a key -> the sentence that says why such a file cannot be read."""
    odd_kernels: bool = False
    """Whether the original cannot run with even kernels, since its padding is kernel // 2."""
    ndims: tuple[int, ...] = (1, 2, 3)

    @property
    def hints(self) -> list[str]:
        """Every hint that ``adopt`` takes for this layout."""
        return [*self.sizes, *self.choices, *self.fixed, *self.ignored]
