"""The foreign layouts as data; tests/goldens holds what the originals computed."""

from __future__ import annotations

from convgru.importers.layout import Layout
from convgru.importers.tables.dropins import DROPINS
from convgru.importers.tables.keras_flax_haiku import CHANNELS_LAST
from convgru.importers.tables.pytorch_projects import PYTORCH, REFUSALS
from convgru.importers.tables.torch_nn_mxnet import TORCH_AND_MXNET

__all__ = ["LAYOUTS", "REFUSALS"]

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (*DROPINS, *PYTORCH, *CHANNELS_LAST, *TORCH_AND_MXNET)}
"""Every layout by its name."""
