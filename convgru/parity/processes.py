"""Tasks of a comparison one after the other, or in several processes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from convgru.parity.report import Report

Task = Callable[[], Report]


def reports(tasks: Sequence[Task], jobs: int) -> Iterator[Report]:
    """The report of each task, in order; with more than one job the tasks must be such as can be pickled."""
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
    """Before any framework is imported: processes that share the cores must not each use them all."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
