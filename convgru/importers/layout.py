"""What a foreign layout is: which parts of which arrays are which gates of which canonical parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Piece:
    """A block of a foreign array that holds rows of one canonical parameter of one layer and direction.

    ``key`` is the array's name, ``{layer}`` standing for the layer's number and ``{dir}`` for the direction's word; ``target``
    the canonical short name. ``rows`` names the gates that the rows of this block hold, in the foreign order, as ``spec.GATES``
    calls them; ``first`` is how many gates stand above the block, ``total`` how many the whole array holds. ``columns``
    says which input channels the block takes of an array whose columns are [x, h]: ``x``, ``h``, or both for an array
    that is not joined (``""``); ``order`` is ``hx`` where h stands first. ``form`` names the array's axes, as in ``plan.Term``.
    ``negative`` gates change their sign. ``norm`` is how the names of a batch norm begin that multiplies the block by
    γ/√(var + ε) in inference; ``spectral`` are the keys of u and v of a spectral norm. An ``optional`` array may be
    missing. Several pieces with one target and gate are summed, the first being where an export puts the sum.
    """

    key: str
    target: str
    rows: str
    first: int = 0
    total: int = 0
    form: str = ""
    columns: str = ""
    order: str = "xh"
    negative: str = ""
    norm: str = ""
    spectral: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.form:
            object.__setattr__(
                self, "form", "o" if self.target.rpartition(".")[2].startswith(("bias", "norm")) else "oik"
            )

    @property
    def gates(self) -> int:
        """How many gates the whole array holds."""
        return self.total or len(self.rows)

    @property
    def is_bias(self) -> bool:
        """Whether a network without biases lacks it."""
        return self.target.rpartition(".")[2].startswith("bias")


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
    directions: tuple[str, ...] = ("",)
    """What stands for ``{dir}``: the forward word, and the backward one where the original runs both ways."""
    bidirectional: str = "layer"
    """Which of our ways of running both ways the original's is."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Constructor arguments that the arrays already answer: hint -> the size that it must agree with."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Constructor arguments that arrays cannot answer: hint -> the arguments of ``spec.network`` that it becomes."""
    groups: str = ""
    """The hint that says how many groups the original's convolutions have; they divide all rows, not those of each gate."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments with which the original runs at one value only: hint -> that value."""
    ignored: tuple[str, ...] = ()
    """Constructor arguments that do not change what the weights mean."""
    strays: tuple[str, ...] = ()
    """Patterns of keys that such files may hold and that say nothing about the network."""
    padding: str = "same"
    """What its padding does where it strides; without a stride it is ``same``."""
    odd_kernels: bool = False
    """Whether the original cannot run with even kernels, since its padding is kernel // 2."""
    ndims: tuple[int, ...] = (1, 2, 3)
    forget_bias: float = 0.0
    """What the original adds to the forget gate when it runs, whether it stores biases or not."""
    named: bool = False
    """Whether it is read only when asked for by name: its arrays are called what many call theirs."""

    @property
    def hints(self) -> list[str]:
        """Every hint that ``adopt`` takes for this layout."""
        groups = [self.groups] if self.groups else []
        return [*self.sizes, *self.choices, *groups, *self.fixed, *self.ignored]

    @property
    def example(self) -> str:
        """What its first array is called."""
        return self.pieces[0].key.format(layer=0, dir=self.directions[0])


@cache
def pattern(key: str, directions: tuple[str, ...]) -> re.Pattern[str]:
    """Matches a piece's key with anything before it: groups ``prefix``, and ``layer`` and ``dir`` where the key has them."""
    found = [r"(?P<prefix>(?:.*\.)?)"]
    for part in re.split(r"(\{.*?\})", key):
        if part == "{dir}":
            found.append(f"(?P<dir>{'|'.join(map(re.escape, directions))})")
        elif part.startswith("{layer"):  # "{layer:02d}" is written with leading zeros, "{layer}" without
            found.append(rf"(?P<layer>{'0|[1-9][0-9]*' if part == '{layer}' else '[0-9][0-9]+'})")
        else:
            found.append(re.escape(part))
    return re.compile("".join(found), re.DOTALL)
