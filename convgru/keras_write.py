"""Write a .weights.h5 file that ``load_weights`` of a Keras model with one ConvLSTM layer takes."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from convgru import atomic
from convgru.hdf5 import h5py
from convgru.weights import WeightsError


def write(arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
    """Write the arrays of one layer (``cell/vars/0`` …, or ``forward_layer/cell/vars/0`` … of both directions); whole or not at all.

    The layer's arguments are no part of such a file. Raises WeightsError for another suffix or other names, ImportError, with the command
    that mends it, without h5py.
    """
    if not str(path).endswith(".h5"):
        raise WeightsError(f"{path}: expected a suffix .weights.h5, the only file of Keras that holds weights alone")
    if any(array.dtype.kind == "V" for array in arrays.values()):
        raise WeightsError(f"{path}: HDF5 has no bfloat16: write float32 (Weights.astype)")
    strange = [name for name in arrays if "cell/vars/" not in name]
    if strange:
        raise WeightsError(f"{path}: expected arrays of a Keras layer (layout 'keras'), got {', '.join(strange[:3])}")
    layer = "bidirectional" if len({name.split("/")[0] for name in arrays}) == 2 else f"conv_lstm{_ndim(arrays)}d"
    with atomic.replacing(path) as temporary, h5py().File(temporary, "w") as file:
        file.create_group("vars").attrs["name"] = "functional"
        file.create_group(f"layers/{layer}/vars").attrs["name"] = layer
        for name, array in arrays.items():
            file.create_dataset(f"layers/{layer}/{name}", data=array)


def _ndim(arrays: Mapping[str, np.ndarray]) -> int:
    return max(array.ndim for array in arrays.values()) - 2
