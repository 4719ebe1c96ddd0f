"""From a match to pure slices: which block of which foreign array is which gate of which canonical array."""

from __future__ import annotations

from dataclasses import dataclass

from convgru.importers.match import Match, Place
from convgru.shapes import parameter_shapes
from convgru.spec import GATES, NetworkSpec


@dataclass(frozen=True)
class Term:
    """One block of one foreign array, as it stands in a sum.

    ``form`` names the array's axes: ``oik`` (out, in, *kernel), ``kio`` (*kernel, in, out), ``oi`` (out, in; ``ones`` axes of length one
    follow, its kernel), ``o``, or ``1ok`` (1, out, *size). ``rows`` and ``columns`` are slices of it as (out, in, *kernel); before that ``groups``
    of a convolution that cut across the gates are made dense. The block changes its sign if ``negative``, is multiplied by
    γ/√(var + ε) of the batch norm ``norm`` (arrays ``norm.weight``, ``norm.running_var``), and divided by uᵀ·W·v, W being the whole array
    with one row for each output, if ``spectral`` names u and v. ``constant`` is added. A term without a ``name`` is the constant
    alone, once for each of ``rows``.
    """

    name: str
    form: str
    rows: slice
    columns: slice | None = None
    negative: bool = False
    norm: str = ""
    spectral: tuple[str, str] | None = None
    constant: float = 0.0
    groups: int = 1
    ones: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Every foreign array that is read for it."""
        norm = (f"{self.norm}.weight", f"{self.norm}.running_var") if self.norm else ()
        return (*((self.name,) if self.name else ()), *norm, *(self.spectral or ()))

    @property
    def is_exact(self) -> bool:
        """Whether it only moves numbers and turns signs."""
        return not (self.norm or self.spectral or self.constant)


Blocks = tuple[tuple[Term, ...], ...]
Plan = dict[str, Blocks]
"""Canonical name -> its blocks, in the order of our gates; each is the sum of its terms, and () is zeros."""


def plan(found: Match) -> Plan:
    """How the canonical arrays of a match are made of the foreign ones."""
    terms: dict[tuple[str, str], list[Term]] = {}
    for place in found.places():
        for gate in place.piece.rows:
            terms.setdefault((place.target, gate), []).append(_term(place, gate, found))
    if found.forget_bias:
        for name in parameter_shapes(found.spec):
            if name.endswith(".bias"):
                rows = slice(0, found.spec.layers[0].hidden_channels)
                terms.setdefault((name, "f"), []).append(Term("", "o", rows, constant=found.forget_bias))
    return {
        name: tuple(tuple(terms.get((name, gate), ())) for gate in gates_of(found.spec, name))
        for name in parameter_shapes(found.spec)
    }


def gates_of(spec: NetworkSpec, name: str) -> str:
    """The gates whose rows a canonical array holds, in order."""
    part = name.rpartition(".")[2]
    if part == "bias_hn":
        return "n"
    return part[-1] if part.startswith("peephole_") else GATES[spec.cell]


def _term(place: Place, gate: str, found: Match) -> Term:
    piece, cell = place.piece, place.cell
    start = (piece.first + piece.rows.index(gate)) * cell.hidden_channels
    weight = piece.form in ("oik", "kio", "oi")
    return Term(
        place.name,
        piece.form,
        slice(start, start + cell.hidden_channels),
        place.columns,
        gate in piece.negative,
        place.norm,
        place.spectral,
        groups=found.groups if weight and found.groups != cell.groups else 1,
        ones=cell.ndim if piece.form == "oi" else 0,
    )
