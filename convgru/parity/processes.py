"""Run the tasks of a comparison, in this process or in several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from convgru.parity.report import Report

Task = Callable[[], Report]


def reports(tasks: Sequence[Task], jobs: int) -> Iterator[Report]:
    """Yield the report of each task in order; with several jobs the tasks must be picklable."""
    if jobs == 1:
        for task in tasks:
            yield task()
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _limit_threads, (threads,)) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _limit_threads(threads: int) -> None:
    """Share the cores among the processes; effective because no framework is imported yet."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
