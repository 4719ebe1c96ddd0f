"""What the tests of parity run in processes of their own, which must be able to import it."""

import os
import time
from functools import partial

from convgru import reference
from convgru.parity.processes import workers
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
    with workers(2) as share:
        list(share([partial(sleep_in, folder)] * 2))


def name_of(folder):
    (folder / str(os.getpid())).touch()


def two_short_tasks_in(folder):
    with workers(2) as share:
        list(share([partial(name_of, folder)] * 2))


def ended():
    os._exit(3)


def settings_of_a_process():
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    return os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS"), cores
