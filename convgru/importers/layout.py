"""Describe a foreign layout as data: which rows of which array are which gates of what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

FORMS = ("oik", "kio", "oi", "o", "1ok")
"""Orders of a kernel's axes: o output, i input channels, k space; ``oi`` has one pixel."""


@dataclass(frozen=True)
class Piece:
    """A block of a foreign array: rows of one canonical parameter of one layer and direction.

    Several pieces with one target and gate are summed; an export writes the sum to the first.

    Attributes:
        key: The array's name; ``{layer}`` stands for the layer's number, ``{dir}`` for the
            direction's word and ``{any}`` for any text. A piece without key adds ``constant``.
        target: The canonical short name of the parameter.
        rows: The gates whose rows this block holds, in the foreign order, as ``spec.GATES`` calls
            them.
        first: Number of gates above the block.
        total: Number of gates in the whole array.
        columns: The input channels that the block takes of a convolution of x and h together: ``x``
            or ``h``; empty where each has an array to itself.
        negative: Gates that change their sign.
        norm: Beginning of the names of a batch norm that multiplies the block by γ/√(var + ε) in
            inference.
        spectral: Names of the vectors u and v of a spectral norm, which divides the whole array W
            by uᵀWv.
        optional: Whether the array may be missing, together with all optional arrays of the layer.
        form: Order of its axes, where it is not the layout's.
        constant: A forget bias that the original adds at run time.
    """

    key: str
    target: str
    rows: str
    first: int = 0
    total: int = 0
    columns: str = ""
    negative: str = ""
    norm: str = ""
    spectral: tuple[str, str] | None = None
    optional: bool = False
    form: str = ""
    constant: float = 0.0

    @property
    def gates(self) -> int:
        """The number of gates in the whole array."""
        return self.total or len(self.rows)

    @property
    def is_bias(self) -> bool:
        """Whether it is absent in a network without biases."""
        return self.target.rpartition(".")[2].startswith("bias")

    @property
    def is_weight(self) -> bool:
        """Whether it is a convolution's kernel."""
        return self.target.rpartition(".")[2] in ("weight_ih", "weight_hh")


@dataclass(frozen=True)
class Layout:
    """A foreign layout: how one implementation stores its networks, for import and export alike."""

    name: str
    title: str
    """The name of the implementation in messages."""
    cell: str
    pieces: tuple[Piece, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of ``spec.network`` besides sizes."""
    directions: tuple[str, ...] = ("",)
    """The words for ``{dir}``: forward, and backward if the original runs both ways."""
    bidirectional: str = "layer"
    """The value of ``bidirectional`` that the original's way of running both directions is."""
    form: str = "oik"
    """The order of the axes of its kernels (``FORMS``)."""
    joined: str = "xh"
    """The order of the input channels of a convolution of x and h together."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Constructor arguments that the arrays determine: hint -> the size that it must agree with."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Constructor arguments that arrays do not determine: hint -> arguments of ``spec.network``."""
    words: Mapping[str, Any] = field(default_factory=dict)
    """Values of ``choices`` that have another name in ``spec.network``."""
    groups: str = ""
    """The hint for its convolutions' groups, which divide all rows, not those of each gate."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments of which the original supports one value: hint -> that value."""
    ignored: tuple[str, ...] = ()
    """Constructor arguments that do not change the meaning of the weights."""
    forget_bias: str = ""
    """The hint that multiplies ``constant``."""
    strays: tuple[str, ...] = ()
    """Patterns of keys in such files that do not belong to the network."""
    padding: str | None = "same"
    """Its padding with a stride; without one it is ``same``. None: given by options or choices."""
    peephole: str | None = None
    """The kind of its peephole, if the arrays of one are present."""
    norm_channels: int = 0
    """Channels in each group of its group norm, if the arrays of one are present."""
    odd_kernels: bool = False
    """Whether the original cannot run with even kernels, since its padding is kernel // 2."""
    ndims: tuple[int, ...] = (1, 2, 3)
    named: bool = False
    """Whether the caller must name it, because many systems use such names of arrays."""
    ends: str = "./"
    """The characters that may separate the name of a module from the names of its arrays."""
    inside: str = ""
    """A pattern of the prefixes at which it is recognised, if its keys alone are ambiguous."""
    suffix: str = ".pt"
    """The suffix of the files in which people who use it keep their weights."""
    separate: bool = False
    """Whether each layer is a network by itself, because the original has other modules in between.
    """

    @property
    def hints(self) -> list[str]:
        """The hints that ``adopt`` takes for this layout."""
        special = [name for name in (self.groups, self.forget_bias) if name]
        alone = ["layer"] if self.separate else []
        free = ["ndim"] if self.form == "oi" else []
        return [*self.sizes, *self.choices, *special, *alone, *free, *self.fixed, *self.ignored]

    @property
    def family(self) -> str:
        """The name of the system, for all its layouts: ``torch.nn`` for ``torch.nn.gru``."""
        return "torch.nn" if self.name.startswith("torch.nn.") else self.name.partition(".")[0]

    @property
    def can_export(self) -> bool:
        """Whether it can be written: a folded batch norm or spectral norm cannot be unfolded."""
        return not any(piece.norm or piece.spectral for piece in self.pieces)

    @property
    def separator(self) -> str:
        """The character that an export puts between a module's name and the names of its arrays."""
        return "/" if self.form == "kio" else "."

    @property
    def example(self) -> str:
        """The name of its first array."""
        return self.pieces[0].key.format(layer=0, dir=self.directions[0], any="…")

    @property
    def has_constants(self) -> bool:
        """Whether it adds a constant at run time: then there is a bias even without an array."""
        return any(not piece.key for piece in self.pieces)

    def form_of(self, piece: Piece) -> str:
        """Return the order of the axes of a piece's array."""
        return piece.form or (self.form if piece.is_weight else "oik" if piece.target.startswith("peephole") else "o")


@dataclass(frozen=True)
class Refusal:
    """A network whose names look like one of the layouts and that no spec describes."""

    key: str
    """A pattern of names by which it is recognised."""
    title: str
    reason: str


@cache
def pattern(key: str, directions: tuple[str, ...], ends: str) -> re.Pattern[str]:
    """Return a regular expression for a piece's key after any prefix.

    It has the group ``prefix``, and the groups ``layer``, ``dir`` and ``any`` if the key has them.
    """
    parts = [rf"(?P<prefix>(?:.*[{ends}])?)"]
    for part in re.split(r"(\{.*?\})", key):
        if part == "{dir}":
            parts.append(f"(?P<dir>{'|'.join(map(re.escape, directions))})")
        elif part == "{any}":
            parts.append(r"(?P<any>[^/]+)")
        elif part.startswith("{layer"):  # "{layer:02d}" is written with leading zeros, "{layer}" without
            parts.append(rf"(?P<layer>{'0|[1-9][0-9]{0,5}' if part == '{layer}' else '[0-9][0-9]{1,5}'})")
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts), re.DOTALL)


@cache
def ending(key: str) -> str:
    """Return the constant end of a key; empty if it ends with a field."""
    return "" if key.endswith("}") else key.rpartition("}")[2]
