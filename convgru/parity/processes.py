"""Run the tasks of a comparison, in this process or in several."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from importlib import metadata
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue

from convgru.parity.report import Report

Task = Callable[[], Report]
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""Flags with which XLA compiles in a third of the time; an XLA that does not know one ends."""
KNOWN = "0.10."
"""The releases of jaxlib that know ``FLAGS``."""


@contextmanager
def workers(jobs: int, *, quick: bool = False) -> Iterator[Callable[[Sequence[Task]], Iterator[Report]]]:
    """Yield a function that runs tasks and yields their reports in order; it may be called again.

    One job runs them in this process. Several have processes of their own, for which tasks must be
    picklable; so has a single one that is ``quick``, as those call ``compile_quickly``. Whatever is
    raised inside, the processes end.

    Raises:
        ChildProcessError: one of them ended early.
    """
    if jobs == 1 and not quick:
        yield lambda tasks: (task() for task in tasks)
        return
    context = get_context("spawn")
    shares = context.SimpleQueue()
    for share in _shares(jobs):
        shares.put(share)
    with ProcessPoolExecutor(jobs, context, _begin_worker, (shares, quick)) as pool:
        try:
            yield partial(_shared, pool)
        except BrokenProcessPool as broken:
            text = "a process of the comparison ended before its time, perhaps for lack of memory: fewer jobs need less"
            raise ChildProcessError(text) from broken
        except BaseException:  # interrupted, or not wanted any more: what runs would be waited for
            for worker in list((pool._processes or {}).values()):  # no other process of this program's
                worker.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _shared(pool: ProcessPoolExecutor, tasks: Sequence[Task]) -> Iterator[Report]:
    for future in [pool.submit(task) for task in tasks]:
        yield future.result()


def compile_quickly() -> None:
    """Let XLA leave out optimisation in this process, in which JAX has not computed yet.

    It stands here because XLA reads its flags once, and a backend is JAX's already.

    The parity table compiles hundreds of small programs and runs each once: nine tenths of its time
    with JAX would be optimisation. The operations that are compiled stay the same.
    """
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    if "jax" in sys.modules:  # the caller's script imports it, and is imported before this runs
        sys.modules["jax"].config.update("jax_disable_most_optimizations", True)
    try:
        known = metadata.version("jaxlib").startswith(KNOWN)
    except metadata.PackageNotFoundError:
        return
    if known:
        os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '')}"


def cores() -> list[int]:
    """The cores that this process may use; as many zeros where the system does not tell which."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [0] * (os.cpu_count() or 1)


def _shares(jobs: int) -> list[list[int]]:
    """The cores of each process, as evenly as they go; with too few of them one of them each."""
    mine = cores()
    return [mine[i::jobs] or [mine[i % len(mine)]] for i in range(jobs)]


def _begin_worker(shares: SimpleQueue[list[int]], quick: bool) -> None:
    """Keep this process to its share of the cores, and end it when its parent is gone.

    Frameworks that find more cores than are theirs wait for them: a third more processor time.
    """
    if quick:
        compile_quickly()
    share = shares.get()
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):  # it would be faster, and is not needed
            os.sched_setaffinity(0, share)  # for threads to come: NumPy's share no core well
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # In time for frameworks that tasks import; not for one that the caller's own script imports.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(len(share)))


def _end_with_parent() -> None:
    """Wait for the parent's end; one that is killed cannot end its workers itself."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
