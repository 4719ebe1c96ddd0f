"""From a match to pure slices: which block of which foreign array each block of each canonical array is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convgru.importers.match import Match, Place
from convgru.spec import GATES, NetworkSpec
from convgru.spec.shapes import parameter_shapes


@dataclass(frozen=True)
class Term:
    """A slice of a foreign array, and what is done to it; without a name, a constant."""

    name: str
    form: str
    """How the array's axes stand (``layout.FORMS``)."""
    rows: slice
    """Along the output channels."""
    columns: slice | None = None
    """Along the input channels, None for all."""
    groups: int = 1
    """Of a grouped convolution that becomes a dense one first, zeros filling the rest."""
    negative: bool = False
    norm: str = ""
    """A batch norm that multiplies it by γ/√(var + ε): ``{norm}.weight`` and ``{norm}.running_var``."""
    spectral: tuple[str, str] | None = None
    """The names of u and v: the array is divided by uᵀWv."""
    constant: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Every foreign array that is read for it."""
        norm = (f"{self.norm}.weight", f"{self.norm}.running_var") if self.norm else ()
        return (*((self.name,) if self.name else ()), *norm, *(self.spectral or ()))

    @property
    def is_exact(self) -> bool:
        """Whether it only moves numbers, or turns their sign."""
        return bool(self.name) and not self.norm and self.spectral is None


@dataclass(frozen=True)
class Block:
    """Rows of a canonical array: the sum of its terms, zeros without any."""

    shape: tuple[int, ...]
    terms: tuple[Term, ...]

    @property
    def names(self) -> set[str]:
        """Every foreign array that is read for it."""
        return {name for term in self.terms for name in term.names}


Plan = dict[str, tuple[Block, ...]]
"""Canonical name -> its blocks, one below the other."""


def plan(found: Match) -> Plan:
    """The plan of a match."""
    terms: dict[tuple[str, str], list[Term]] = {}
    for place in found.places():
        for gate in place.piece.rows:
            terms.setdefault((place.target, gate), []).append(_term(found, place, gate))
    whole: Plan = {}
    for name, shape in parameter_shapes(found.spec).items():
        gates = gates_of(found.spec, name)
        rows = shape[0] // len(gates)
        whole[name] = _merged([Block((rows, *shape[1:]), tuple(terms.get((name, gate), ()))) for gate in gates])
    return whole


def gates_of(spec: NetworkSpec, name: str) -> str:
    """The gates whose rows a canonical array holds, in order."""
    part = name.rpartition(".")[2]
    if part == "bias_hn":
        return "n"
    return part[-1] if part.startswith("peephole_") else GATES[spec.cell]


def _term(found: Match, place: Place, gate: str) -> Term:
    piece, cell = place.piece, place.cell
    start = (piece.first + piece.rows.index(gate)) * cell.hidden_channels
    columns = None
    if piece.columns:
        at = cell.in_channels if found.layout.joined == "xh" else cell.hidden_channels
        columns = slice(0, at) if piece.columns == found.layout.joined[0] else slice(at, None)
    return Term(
        place.name,
        found.layout.form_of(piece),
        slice(start, start + cell.hidden_channels),
        columns,
        found.groups if found.groups != cell.groups and (piece.is_weight or cell.peephole) and not piece.is_bias else 1,
        gate in piece.negative,
        place.norm,
        place.spectral,
        piece.constant * found.forget,
    )


def _merged(blocks: list[Block]) -> tuple[Block, ...]:
    """Blocks that continue each other as one, so that less is cut and glued."""
    found: list[Block] = []
    for block in blocks:
        last = found[-1] if found else None
        if last is not None and len(last.terms) == len(block.terms) and all(map(_continues, last.terms, block.terms)):
            terms = tuple(
                replace(a, rows=slice(a.rows.start, b.rows.stop)) for a, b in zip(last.terms, block.terms, strict=True)
            )
            found[-1] = Block((last.shape[0] + block.shape[0], *block.shape[1:]), terms)
        else:
            found.append(block)
    return tuple(found)


def _continues(a: Term, b: Term) -> bool:
    if not a.name or not b.name:
        return a.name == b.name and a.constant == b.constant
    return a.rows.stop == b.rows.start and replace(b, rows=a.rows) == a
