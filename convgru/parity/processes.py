"""Run the tasks of a comparison, in this process or in several."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

from convgru.parity.report import Report

Task = Callable[[], Report]


def reports(tasks: Sequence[Task], jobs: int) -> Generator[Report, None, None]:
    """Yield the report of each task in order; with several jobs the tasks must be picklable.

    Closing the generator ends its processes. Raises ChildProcessError if one of them ends early.
    """
    if jobs == 1:
        for task in tasks:
            yield task()
        return
    workers = max(1, min(jobs, len(tasks)))
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker, (threads,)) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool as broken:
            text = "a process of the comparison ended before its time, perhaps for lack of memory: fewer jobs need less"
            raise ChildProcessError(text) from broken
        except BaseException:  # interrupted, or not wanted any more: what runs would be waited for
            for worker in list((pool._processes or {}).values()):  # no other process of this program's
                worker.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker(threads: int) -> None:
    """Share the cores among the processes, and end this one when its parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # In time for frameworks that tasks import; not for one that the caller's own script imports.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def _end_with_parent() -> None:
    """Wait for the parent's end; one that is killed cannot end its workers itself."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
