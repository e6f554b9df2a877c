"""Reading, computing and writing at the same time, across the borders of tensors, in a bounded window of chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from core.chunks import Chunk, Compute, Made, make
from core.plan import chunks_in_flight
from core.sources import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def flow(source: Source, chunks: Iterable[Chunk], compute: Compute) -> Generator[tuple[Chunk, list[Made]], None, None]:
    """Every chunk with what it became, in order, while those behind it are read and computed.

    Close the iterator where it is not used up. Raises what reading and `core.chunks.make` raise.
    """
    pending: deque[tuple[Chunk, Future[list[Made]]]] = deque()
    with ExitStack() as stack:
        reader = stack.enter_context(_threads(1, "reader"))
        pool = stack.enter_context(_threads(compute.workers, "compute"))
        for chunk in chunks:
            raw = reader.submit(source.raw, chunk.tensor, chunk.first, chunk.rows)
            pending.append((chunk, pool.submit(_made, source, chunk, raw, compute)))
            if len(pending) > chunks_in_flight(compute.workers):
                done, made = pending.popleft()
                yield done, made.result()
        while pending:
            done, made = pending.popleft()
            yield done, made.result()


def _made(source: Source, chunk: Chunk, raw: Future[NDArray[np.uint8]], compute: Compute) -> list[Made]:
    return make(source, chunk, raw.result(), compute)


@contextmanager
def _threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """A pool whose waiting work is dropped where it is left early."""
    pool = ThreadPoolExecutor(count, name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
