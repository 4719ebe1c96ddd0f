"""What the tests of parity run in processes of their own, which must be able to import it."""

import os
import time
from functools import partial

from convgru import reference
from convgru.parity.processes import reports
from convgru.weights import Weights


def right(spec, arrays, x, state, **call):
    y, final = reference.run(Weights(spec, arrays), x, state, **call)
    return y.astype(x.dtype), tuple(_rounded(entry, x.dtype) for entry in final)


def _rounded(entry, dtype):
    return tuple(part.astype(dtype) for part in entry) if isinstance(entry, tuple) else entry.astype(dtype)


def of_float64(*arguments, **call):
    y, final = right(*arguments, **call)
    return y.astype("float64"), final


def not_finite(*arguments, **call):
    y, final = right(*arguments, **call)
    return y + float("nan"), final


def sleep_in(folder):
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def two_tasks_in(folder):
    list(reports([partial(sleep_in, folder)] * 2, 2))


def name_of(folder):
    (folder / str(os.getpid())).touch()


def two_short_tasks_in(folder):
    list(reports([partial(name_of, folder)] * 2, 2))


def ended():
    os._exit(3)
