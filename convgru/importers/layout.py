"""What a foreign layout is: which parts of which arrays are which gates of which canonical parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

FORMS = ("oik", "kio", "oi", "o", "1ok")
"""How an array's axes stand: output channels o, input channels i, the kernel's (or the image's) axes k; ``oi`` has a kernel of one pixel."""


@dataclass(frozen=True)
class Piece:
    """A block of a foreign array that holds rows of one canonical parameter of one layer and direction.

    ``key`` is the array's name, ``{layer}`` standing for the layer's number, ``{dir}`` for the direction's word and ``{any}`` for
    any text; ``target`` the canonical short name. ``rows`` names the gates that the rows of this block hold, in the foreign
    order, as ``spec.GATES`` calls them; ``first`` is how many gates stand above the block, ``total`` how many the whole
    array holds. ``columns`` says which input channels the block takes of an array of a convolution of x and h together:
    ``x``, ``h``, or both for an array of one of them (``""``). ``negative`` gates change their sign. ``norm`` is how the names of
    a batch norm begin that multiplies the block by γ/√(var + ε) in inference; ``spectral`` names the vectors u and v of a
    spectral norm, which divides the whole array W by uᵀWv. The ``optional`` arrays of a layout may be missing, all of them. ``form`` says how the axes stand
    where the layout's own does not. Several pieces with one target and gate are summed, the first being where an export puts
    the sum. A piece without key adds ``constant``: a forget bias that the original adds at run time.
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
        """How many gates the whole array holds."""
        return self.total or len(self.rows)

    @property
    def is_bias(self) -> bool:
        """Whether a network without biases lacks it."""
        return self.target.rpartition(".")[2].startswith("bias")

    @property
    def is_weight(self) -> bool:
        """Whether it is a convolution's kernel."""
        return self.target.rpartition(".")[2] in ("weight_ih", "weight_hh")


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
    form: str = "oik"
    """How the axes of its convolutions' kernels stand."""
    joined: str = "xh"
    """In which order a convolution of both reads its input channels."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Constructor arguments that the arrays already answer: hint -> the size that it must agree with."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Constructor arguments that arrays cannot answer: hint -> the arguments of ``spec.network`` that it becomes."""
    words: Mapping[str, Any] = field(default_factory=dict)
    """What the original calls otherwise than ``spec.network`` does, among the values of ``choices``."""
    groups: str = ""
    """The hint that says how many groups the original's convolutions have; they divide all rows, not those of each gate."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments with which the original runs at one value only: hint -> that value."""
    ignored: tuple[str, ...] = ()
    """Constructor arguments that do not change what the weights mean."""
    forget_bias: str = ""
    """The hint that says by how much ``constant`` is multiplied."""
    strays: tuple[str, ...] = ()
    """Patterns of keys that such files may hold and that say nothing about the network."""
    padding: str | None = "same"
    """What its padding does where it strides (without a stride it is ``same``); None: what ``options`` and ``choices`` say."""
    peephole: str | None = None
    """Which peephole it has, if the arrays of one are there."""
    norm_channels: int = 0
    """How many channels a group of its group norm has, if the arrays of one are there."""
    odd_kernels: bool = False
    """Whether the original cannot run with even kernels, since its padding is kernel // 2."""
    ndims: tuple[int, ...] = (1, 2, 3)
    named: bool = False
    """Whether it is read only when asked for by name: its arrays are called what many call theirs."""
    ends: str = "./"
    """What may stand between the name of a module and the names of its arrays."""
    inside: str = ""
    """A pattern of the modules in which it is recognised without being named, where its keys alone say too little."""
    suffix: str = ".pt"
    """The suffix of the files in which people who use it keep their weights."""
    separate: bool = False
    """Whether each layer is a network by itself, the original doing something else in between."""

    @property
    def hints(self) -> list[str]:
        """Every hint that ``adopt`` takes for this layout."""
        special = [name for name in (self.groups, self.forget_bias) if name]
        alone = ["layer"] if self.separate else []
        free = ["ndim"] if self.form == "oi" else []
        return [*self.sizes, *self.choices, *special, *alone, *free, *self.fixed, *self.ignored]

    @property
    def family(self) -> str:
        """The name that stands for all layouts of the same system: ``torch.nn`` for ``torch.nn.gru``."""
        return "torch.nn" if self.name.startswith("torch.nn.") else self.name.partition(".")[0]

    @property
    def can_export(self) -> bool:
        """Whether a network can be written in it: a batch norm or spectral norm that was folded cannot be unfolded."""
        return not any(piece.norm or piece.spectral for piece in self.pieces)

    @property
    def separator(self) -> str:
        """What stands between a module's name and the names of its arrays."""
        return "/" if self.form == "kio" else "."

    @property
    def example(self) -> str:
        """What its first array is called."""
        return self.pieces[0].key.format(layer=0, dir=self.directions[0], any="…")

    @property
    def has_constants(self) -> bool:
        """Whether it adds something at run time, so that there is a bias even where no array holds one."""
        return any(not piece.key for piece in self.pieces)

    def form_of(self, piece: Piece) -> str:
        """How the axes of a piece's array stand."""
        return piece.form or (self.form if piece.is_weight else "oik" if piece.target.startswith("peephole") else "o")


@dataclass(frozen=True)
class Refusal:
    """Something that looks like one of the layouts and is no network that a spec describes."""

    key: str
    """A pattern of names that tell it."""
    title: str
    reason: str


@cache
def pattern(key: str, directions: tuple[str, ...], ends: str) -> re.Pattern[str]:
    """Matches a piece's key with anything before it: groups ``prefix``, and ``layer``, ``dir`` and ``any`` where the key has them."""
    found = [rf"(?P<prefix>(?:.*[{ends}])?)"]
    for part in re.split(r"(\{.*?\})", key):
        if part == "{dir}":
            found.append(f"(?P<dir>{'|'.join(map(re.escape, directions))})")
        elif part == "{any}":
            found.append(r"(?P<any>[^/]+)")
        elif part.startswith("{layer"):  # "{layer:02d}" is written with leading zeros, "{layer}" without
            found.append(rf"(?P<layer>{'0|[1-9][0-9]{0,5}' if part == '{layer}' else '[0-9][0-9]{1,5}'})")
        else:
            found.append(re.escape(part))
    return re.compile("".join(found), re.DOTALL)


@cache
def ending(key: str) -> str:
    """The last words of a key, which every name of it ends with; empty where they vary."""
    return "" if key.endswith("}") else key.rpartition("}")[2]
