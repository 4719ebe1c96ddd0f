"""Files of Keras put together by hand, sound or spoilt."""

from __future__ import annotations

import io
import zipfile

import h5py
import numpy as np

KERNEL = np.ones((3, 3, 1, 8), np.float32)
CELL = "layers/conv_lstm2d/cell/vars"


def h5(build=lambda file: None, **options) -> bytes:
    """An HDF5 file of one layer, spoilt."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        file[f"{CELL}/0"], file[f"{CELL}/1"], file[f"{CELL}/2"] = (
            KERNEL,
            np.ones((3, 3, 2, 8), np.float32),
            np.ones(8, np.float32),
        )
        build(file)
    return buffer.getvalue()


def keras(weights=None, config="{}", about='{"keras_version": "3.0.0"}', more=(), **options) -> bytes:
    """A .keras archive, spoilt."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr("metadata.json", about)
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", h5() if weights is None else weights)
        for name, data in more:
            archive.writestr(name, data)
    return buffer.getvalue()
