"""Several computations at a time, each on one thread: torch's and the compiled functions' own threads rest meanwhile.

Work that is cut into independent parts keeps all cores busy, also between its products of matrices; threads within
each operation have to wait for each other after every one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

from kernels.cpu.parallel import begin_pooled


def at_once(calls: Sequence[Callable[[], Any]], threads: int) -> list[Any]:
    """What the calls return, in order. Raises what the first of those that fail raises."""
    if threads == 1 or len(calls) == 1:
        return [call() for call in calls]
    return list(_pool(threads).map(lambda call: call(), calls))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay. How many threads torch takes is known for each thread, and once for all that begin."""
    usual = torch.get_num_threads()
    begun = threading.Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, "at-once", _begin, (begun,))
    for _ in range(threads):
        pool.submit(lambda: None)
    begun.wait()
    torch.set_num_threads(usual)
    return pool


def _begin(begun: threading.Barrier) -> None:
    torch.set_num_threads(1)
    begin_pooled()
    begun.wait()
