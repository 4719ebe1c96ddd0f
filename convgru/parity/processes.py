"""Run the tasks of a comparison, in this process or in several."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context, parent_process

from convgru.parity.report import Report

Task = Callable[[], Report]


def reports(tasks: Sequence[Task], jobs: int) -> Iterator[Report]:
    """Yield the report of each task in order; with several jobs the tasks must be picklable."""
    if jobs == 1:
        for task in tasks:
            yield task()
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    others = set(active_children())
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin_worker, (threads,)) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        except BaseException:  # interrupted, or not wanted any more: what runs would be waited for
            for worker in set(active_children()) - others:
                worker.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker(threads: int) -> None:
    """Share the cores among the processes, and end this one when its parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Effective because no framework is imported yet.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def _end_with_parent() -> None:
    """Wait for the parent's end; one that is killed cannot end its workers itself."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
