"""Turn a match into slices: which blocks of foreign arrays make up each canonical array."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convgru.importers.match import Match, Place
from convgru.spec import GATES, NetworkSpec
from convgru.spec.shapes import parameter_shapes


@dataclass(frozen=True)
class Term:
    """A slice of a foreign array and the operations on it; without a name, a constant."""

    name: str
    form: str
    """The order of the array's axes (``layout.FORMS``)."""
    rows: slice
    """Along the output channels."""
    columns: slice | None = None
    """Along the input channels, None for all."""
    groups: int = 1
    """Groups of a convolution that is made dense first, zeros filling the rest."""
    negative: bool = False
    norm: str = ""
    """Batch norm that multiplies it by γ/√(var + ε): ``{norm}.weight``, ``{norm}.running_var``."""
    spectral: tuple[str, str] | None = None
    """The names of u and v: the array is divided by uᵀWv."""
    constant: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The foreign arrays that it reads."""
        norm = (f"{self.norm}.weight", f"{self.norm}.running_var") if self.norm else ()
        return (*((self.name,) if self.name else ()), *norm, *(self.spectral or ()))

    @property
    def is_exact(self) -> bool:
        """Whether it only moves numbers or changes their sign."""
        return bool(self.name) and not self.norm and self.spectral is None


@dataclass(frozen=True)
class Block:
    """Rows of a canonical array: the sum of the terms, or zeros if there are none."""

    shape: tuple[int, ...]
    terms: tuple[Term, ...]

    @property
    def names(self) -> set[str]:
        """The foreign arrays that it reads."""
        return {name for term in self.terms for name in term.names}


Plan = dict[str, tuple[Block, ...]]
"""Canonical name -> its blocks, one below the other."""


def plan(match: Match) -> Plan:
    """Return the plan of a match."""
    terms: dict[tuple[str, str], list[Term]] = {}
    for place in match.places():
        for gate in place.piece.rows:
            terms.setdefault((place.target, gate), []).append(_term(match, place, gate))
    whole: Plan = {}
    for name, shape in parameter_shapes(match.spec).items():
        gates = gates_of(match.spec, name)
        rows = shape[0] // len(gates)
        whole[name] = _merged([Block((rows, *shape[1:]), tuple(terms.get((name, gate), ()))) for gate in gates])
    return whole


def gates_of(spec: NetworkSpec, name: str) -> str:
    """Return the gates whose rows a canonical array holds, in order."""
    part = name.rpartition(".")[2]
    if part == "bias_hn":
        return "n"
    return part[-1] if part.startswith("peephole_") else GATES[spec.cell]


def _term(match: Match, place: Place, gate: str) -> Term:
    piece, cell = place.piece, place.cell
    start = (piece.first + piece.rows.index(gate)) * cell.hidden_channels
    columns = None
    if piece.columns:
        at = cell.in_channels if match.layout.joined == "xh" else cell.hidden_channels
        columns = slice(0, at) if piece.columns == match.layout.joined[0] else slice(at, None)
    return Term(
        place.name,
        match.layout.form_of(piece),
        slice(start, start + cell.hidden_channels),
        columns,
        match.groups if match.groups != cell.groups and (piece.is_weight or cell.peephole) and not piece.is_bias else 1,
        gate in piece.negative,
        place.norm,
        place.spectral,
        piece.constant * match.forget,
    )


def _merged(blocks: list[Block]) -> tuple[Block, ...]:
    """Join blocks that continue each other, so that there are fewer slices to concatenate."""
    merged: list[Block] = []
    for block in blocks:
        last = merged[-1] if merged else None
        if last is not None and len(last.terms) == len(block.terms) and all(map(_continues, last.terms, block.terms)):
            terms = tuple(
                replace(a, rows=slice(a.rows.start, b.rows.stop)) for a, b in zip(last.terms, block.terms, strict=True)
            )
            merged[-1] = Block((last.shape[0] + block.shape[0], *block.shape[1:]), terms)
        else:
            merged.append(block)
    return tuple(merged)


def _continues(a: Term, b: Term) -> bool:
    if not a.name or not b.name:
        return a.name == b.name and a.constant == b.constant
    return a.rows.stop == b.rows.start and replace(b, rows=a.rows) == a
