"""Pieces that many tables share."""

from __future__ import annotations

from typing import Any

from convgru.importers.layout import Piece

GRU: dict[str, Any] = {"reset": "before"}


def joined(key: str, rows: str, negative: str = "", update: str = "") -> tuple[Piece, ...]:
    """One convolution of x and h for the gates ``rows``."""
    return (
        Piece(f"{key}.weight", f"{update}weight_ih", rows, columns="x", negative=negative),
        Piece(f"{key}.weight", f"{update}weight_hh", rows, columns="h", negative=negative),
        Piece(f"{key}.bias", f"{update}bias", rows, negative=negative),
    )


def three(*keys: str, update: str = "") -> tuple[Piece, ...]:
    """A GRU with one convolution per gate, in the order r, z, n, and h' = (1−z)∘h + z∘n."""
    r, z, n = keys
    return (
        *joined(r, "r", update=update),
        *joined(z, "z", negative="z", update=update),
        *joined(n, "n", update=update),
    )
