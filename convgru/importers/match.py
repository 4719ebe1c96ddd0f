"""Check whether arrays of these names and shapes are a network in a layout, and derive its spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convgru.importers.hints import NoFitError, assumed_of, check_hints, forget_of, groups_of, options_of
from convgru.importers.layout import Layout, Piece
from convgru.spec import CellSpec, NetworkSpec, Norm, network
from convgru.spec.shapes import cell_parameter_shapes, layer_prefix

Shape = tuple[int, ...]
Where = tuple[int, int]
"""Layer, as the original counts, and direction (0 forward, 1 backward)."""


@dataclass(frozen=True)
class Place:
    """Where one piece of one layer and direction is: foreign array and canonical parameter."""

    name: str
    target: str
    norm: str
    spectral: tuple[str, str] | None
    cell: CellSpec
    piece: Piece

    @property
    def names(self) -> list[str]:
        """The foreign arrays that it reads."""
        return [
            *([self.name] if self.name else []),
            *([f"{self.norm}.weight", f"{self.norm}.running_var"] if self.norm else []),
            *(self.spectral or ()),
        ]


@dataclass(frozen=True)
class Match:
    """A network recognised in a layout: its spec, and where its parameters are.

    ``pieces`` are those of the layout that are present.
    """

    layout: Layout
    prefix: str
    spec: NetworkSpec
    pieces: tuple[Piece, ...]
    groups: int = 1
    forget: float = 1.0
    """Factor of a piece's ``constant``."""
    first: int = 0
    """The number that the original gives to the first layer."""
    words: Mapping[Where, str] = field(default_factory=dict)
    """The text that ``{any}`` matched, by layer and direction."""
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments that nothing gives, each with the original's default, assumed here."""

    @classmethod
    def of(cls, layout: Layout, spec: NetworkSpec, groups: int | None = None) -> Match:
        """Lay a known spec out in this layout (for export), as far as the layout can hold it.

        ``groups`` are the original's, where its convolutions cut across the gates.
        """
        first = spec.layers[0]

        def is_present(piece: Piece) -> bool:
            if piece.target.startswith("peephole"):
                return first.peephole is not None
            if piece.target.startswith("norm_"):
                return first.norm is not None
            if piece.is_bias:
                return first.bias and (not piece.optional or layout.has_constants)
            return not piece.optional

        pieces = tuple(piece for piece in layout.pieces if is_present(piece))
        return cls(layout, "", spec, pieces, first.groups if groups is None else groups)

    def places(self) -> Iterator[Place]:
        """Yield the place of every piece of every layer and direction."""
        for layer, cell in enumerate(self.spec.layers):
            for index, direction in enumerate(self.spec.directions):
                fill = self.filler(layer + self.first, index)
                for piece in self.pieces:
                    spectral = None if piece.spectral is None else (fill(piece.spectral[0]), fill(piece.spectral[1]))
                    target = layer_prefix(layer, direction) + piece.target
                    yield Place(fill(piece.key), target, fill(piece.norm), spectral, cell, piece)

    def filler(self, layer: int, direction: int) -> Callable[[str], str]:
        """Return a function from a piece's key to the array's name.

        ``layer`` counts as the original does.
        """
        words = {"layer": layer, "dir": self.layout.directions[direction]}
        words["any"] = self.words.get((layer, direction), "conv_lstm")
        return lambda key: key and self.prefix + key.format(**words)

    @property
    def claims(self) -> frozenset[str]:
        """The foreign arrays that it reads."""
        return frozenset(name for place in self.places() for name in place.names)

    @property
    def label(self) -> str:
        """The text that distinguishes it from other networks in the same file."""
        return f"{self.prefix!r}, layer={self.first}" if self.layout.separate else repr(self.prefix)


def match_layout(
    layout: Layout,
    prefix: str,
    parts: Mapping[Where, Sequence[Piece]],
    shapes: Mapping[str, Shape],
    hints: Mapping[str, Any],
    words: Mapping[Where, str] | None = None,
) -> Match:
    """Return the network of one layout below one prefix.

    ``parts`` maps layer and direction to the pieces whose names are there, ``words`` to the text
    that ``{any}`` matched. Raises NoFitError, which says what does not fit.
    """
    present = {piece for pieces in parts.values() for piece in pieces}
    stored = any(piece.is_bias for piece in present)
    bias = layout.has_constants or stored
    optional = {piece for piece in layout.pieces if piece.optional}
    if optional & present and optional - present:
        lacking = sorted(piece.key for piece in optional - present)
        raise NoFitError(f"its optional arrays are incomplete: missing {some(lacking)}")
    pieces = tuple(p for p in layout.pieces if (bias or not p.is_bias) and (p in present or not p.optional))
    backward = any(direction for _, direction in parts)
    first = min(layer for layer, _ in parts) if layout.separate else 0
    groups, words = groups_of(layout, hints), words or {}
    draft = Match(layout, prefix, _NO_SPEC, pieces, groups, forget_of(layout, hints), first, words)
    options = {"bias": bias, **options_of(layout, hints, backward)}
    spec = _derive(draft, len({layer for layer, _ in parts}), shapes, options)
    assumed = assumed_of(layout, spec, hints)
    match = Match(layout, prefix, spec, pieces, groups, draft.forget, first, words, assumed)
    check_shapes(match, shapes)
    check_hints(layout, spec, stored, hints, first)
    return match


_NO_SPEC = network("rnn", 1, 1)


def _derive(draft: Match, layers: int, shapes: Mapping[str, Shape], options: dict[str, Any]) -> NetworkSpec:
    """Derive the spec from the recurrent weights and the first input weights.

    The other arrays are compared with it afterwards.
    """
    layout = draft.layout
    recurrent = [piece for piece in draft.pieces if piece.target.endswith("weight_hh")]
    inputs = next(piece for piece in draft.pieces if piece.target.endswith("weight_ih"))
    hidden: list[int] = []
    kernels: list[Any] = []
    recurrent_kernels: list[Any] = []
    for layer in range(layers):
        shape = _oriented(draft, recurrent[0], layer, shapes, options)
        hidden.append(max(shape[0] // recurrent[0].gates, 1))
        recurrent_kernels.append(shape[2:])
        kernels.append(_oriented(draft, inputs, layer, shapes, options)[2:])
    columns = _oriented(draft, inputs, 0, shapes, options)[1]
    channels = columns - hidden[0] if inputs.columns else columns * draft.groups
    groups = draft.groups if layout.cell == "rnn" else 1  # groups that cut across gates become dense weights
    updates = {p.target.rpartition(".")[0]: p for p in recurrent if p.target.startswith("updates.")}
    if updates:
        options["updates"] = tuple(_oriented(draft, piece, 0, shapes, options)[2:] for piece in updates.values())
    elif recurrent_kernels != kernels:
        options["recurrent_kernel_size"] = recurrent_kernels
    options |= _peephole(draft, shapes) | norm_of(layout, draft.pieces, hidden)
    options.pop("ndim", None)
    options |= {} if updates else {"kernel_size": kernels}
    try:
        return network(layout.cell, channels, hidden, ndim=len(kernels[0]), groups=groups, **options)
    except (TypeError, ValueError) as error:
        raise NoFitError(str(error)) from None


def _oriented(draft: Match, piece: Piece, layer: int, shapes: Mapping[str, Shape], options: Mapping[str, Any]) -> Shape:
    """The shape of a convolution's array with its axes in canonical order (out, in, *k)."""
    name = draft.filler(layer + draft.first, 0)(piece.key)
    if name not in shapes:
        raise NoFitError(f"{name!r} is missing")
    form, shape = draft.layout.form_of(piece), shapes[name]
    if form == "oi" and len(shape) == 2:
        shape = (*shape, *(1,) * int(options.get("ndim", 2)))
    elif form == "kio" and len(shape) > 2:
        shape = (shape[-1], shape[-2], *shape[:-2])
    if (form == "oi" and len(shapes[name]) != 2) or len(shape) - 2 not in draft.layout.ndims or min(shape) < 1:
        raise NoFitError(f"{name!r} has shape {shapes[name]}")
    return shape


def _peephole(draft: Match, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The kind of peephole that the arrays imply, and the image size of a pointwise one."""
    piece = next((p for p in draft.pieces if p.target.startswith("peephole_")), None)
    if piece is None or draft.layout.peephole is None:
        return {}
    size = shapes[draft.filler(draft.first, 0)(piece.key)][2:]
    tied = draft.layout.peephole == "hadamard" and set(size) != {1}
    return {"peephole": draft.layout.peephole, **({"state_size": size} if tied else {})}


def norm_of(layout: Layout, pieces: Sequence[Piece], hidden: Sequence[int]) -> dict[str, Any]:
    """Return the group norm that the arrays imply.

    Raises NoFitError if the canonical order of gates would split a group.
    """
    norms = [piece for piece in pieces if piece.target == "norm_weight"]
    if not norms:
        return {}
    groups = []
    for piece in norms:
        channels = len(piece.rows) * hidden[0]
        count = channels // layout.norm_channels
        if not count or channels % count:
            raise NoFitError(
                f"a group norm of {channels} channels in groups of {layout.norm_channels}: the original has none"
            )
        in_order = piece.rows in ["rz", "n", "ifgo", "h"]
        if not in_order and count > 1 and hidden[0] % (channels // count):
            raise NoFitError(
                f"its group norm of {channels} channels in {count} groups spans the gates {piece.rows}, which are in another order here"
            )
        groups.append(count)
    return {"norm": Norm(tuple(groups))}


def foreign_shapes(match: Match) -> dict[str, Shape]:
    """Return the shape of every foreign array that the spec implies."""
    expected: dict[str, Shape] = {}
    for place in match.places():
        cell, piece = place.cell, place.piece
        if not piece.key:
            continue
        rows = piece.gates * cell.hidden_channels
        expected.update(dict.fromkeys(place.names, (rows,)))
        tail = cell_parameter_shapes(cell)[piece.target][1:]
        if piece.columns:
            tail = (cell.in_channels + cell.hidden_channels, *tail[1:])
        elif piece.is_weight or (piece.target.startswith("peephole") and cell.peephole == "conv"):
            tail = (tail[0] * cell.groups // match.groups, *tail[1:])
        expected[place.name] = in_form((rows, *tail), match.layout.form_of(piece))
        if place.spectral:
            flat = 1
            for n in tail:
                flat *= n
            expected[place.spectral[1]] = (flat,)
    return expected


def in_form(shape: Shape, form: str) -> Shape:
    """Return a shape (out, in, *k) with its axes in the order of ``form``."""
    if form == "kio":
        return (*shape[2:], shape[1], shape[0])
    if form == "1ok":
        return (1, *shape)
    return shape[:2] if form == "oi" else shape


def check_shapes(match: Match, shapes: Mapping[str, Shape]) -> None:
    """Raise NoFitError unless the arrays of a match have the shapes that its spec implies."""
    for name, shape in foreign_shapes(match).items():
        if name not in shapes:
            raise NoFitError(f"{name!r} is missing")
        if shapes[name] != shape:
            raise NoFitError(f"{name!r} expected shape {shape}, got {shapes[name]}")
    if match.layout.odd_kernels:
        for index, layer in enumerate(match.spec.layers):
            if not all(k % 2 for k in layer.kernel_size):
                raise NoFitError(
                    f"layer {index} has the even kernel {layer.kernel_size}, with which the original cannot run"
                )


def some(names: Sequence[str]) -> str:
    """Return the first three of some names, as a message lists them."""
    shown = ", ".join(repr(name[:80]) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
