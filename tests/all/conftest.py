"""Who runs a network here: the reference, and every backend that is installed."""

from __future__ import annotations

import numpy as np
import pytest

from convgru import reference, registry
from convgru.calls import Extras


@pytest.fixture(params=("reference", *registry.ROOMS))
def execute(request):
    """A function (weights, x, state=None, lengths=None, context=None) -> (output, state).

    Of the reference, or of one backend.
    """
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
