"""The foreign layouts that convgru reads and writes, as data; the numbers behind them stand in tests/goldens."""

from __future__ import annotations

from convgru.importers.layout import Layout
from convgru.importers.tables.dropins import SEEDS
from convgru.importers.tables.keras_flax_haiku import CHANNELS_LAST
from convgru.importers.tables.pytorch_projects import PYTORCH, REFUSALS
from convgru.importers.tables.torch_nn_mxnet import FLAT

__all__ = ["LAYOUTS", "REFUSALS"]

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (*SEEDS, *PYTORCH, *CHANNELS_LAST, *FLAT)}
"""Every layout by its name."""
