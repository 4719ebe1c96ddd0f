"""The foreign layouts that convgru reads and writes, as data; the numbers behind them stand in tests/goldens."""

from __future__ import annotations

from convgru.importers.layout import Layout
from convgru.importers.tables.channels_last import CHANNELS_LAST
from convgru.importers.tables.flat import FLAT
from convgru.importers.tables.pytorch import PYTORCH, REFUSALS
from convgru.importers.tables.seeds import SEEDS

__all__ = ["LAYOUTS", "REFUSALS"]

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (*SEEDS, *PYTORCH, *CHANNELS_LAST, *FLAT)}
"""Every layout by its name."""
