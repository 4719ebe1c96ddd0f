"""Who runs a network here: the reference, and every backend that is installed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from convgru import reference, registry
from convgru.calls import Extras

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


@cache
def load(name):
    """Meta, state dict and the other arrays of a golden."""
    with np.load(GOLDENS / f"{name}.npz", allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    meta = json.loads(str(arrays.pop("meta")))
    start = "state_dict/"
    state_dict = {key.removeprefix(start): arrays.pop(key) for key in list(arrays) if key.startswith(start)}
    return meta, state_dict, arrays


@pytest.fixture
def golden():
    """Loads a golden by name."""
    return load


@pytest.fixture(params=("reference", *registry.ROOMS))
def execute(request):
    """A function (weights, x, state=None, lengths=None, context=None) -> output, state, of the reference or of a backend."""
    if request.param == "reference":
        return reference.run
    try:
        backend = registry.get(request.param)
    except ImportError as error:
        pytest.skip(str(error))

    def run(weights, x, state=None, lengths=None, context=None):
        extras = Extras(None if lengths is None else np.asarray(lengths), context)
        with backend.precise():
            y, final, _ = backend.execute(weights, np.ascontiguousarray(x), state, extras=extras)
        return y, final

    return run
