"""Chunks come back in order and complete, a bounded number is under way, and errors end everything."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from core import stream
from core.chunks import Chunk, Compute, chunks_of
from core.plan import chunks_in_flight
from core.sources import SourceTensor

TENSORS = [SourceTensor(f"t{number}", (number + 1, 8), "F32", (number + 1) * 32) for number in range(20)]


class CountingSource:
    """Rows whose numbers say which they are; counts what was asked for and not yet taken."""

    path = "model"

    def __init__(self):
        self.asked = 0

    def raw(self, tensor, first_row, n_rows):
        self.asked += 1
        return np.full((n_rows, tensor.row_length), self.asked, np.float32).view(np.uint8)


def all_chunks(*tensors):
    return [Chunk(tensor, (), first, 1) for tensor in tensors for first in range(tensor.rows)]


@pytest.fixture
def numbers(monkeypatch):
    """Chunks become the number in them, the first ones later than those behind them."""

    def made(source, chunk, raw, compute):
        time.sleep(0.002 * (chunk.rows % 3))
        return [int(raw.view(np.float32)[0, 0])]

    monkeypatch.setattr(stream, "make", made)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_chunks_of_all_tensors_come_in_order_and_few_are_under_way(numbers, threads):
    source, compute = CountingSource(), Compute("auto", threads)
    wanted = all_chunks(*TENSORS)
    for taken, (chunk, made) in enumerate(stream.flow(source, wanted, compute), start=1):
        assert chunk is wanted[taken - 1]
        assert made == [taken]
        assert source.asked - taken <= chunks_in_flight(threads)
    assert taken == len(wanted) == source.asked


def test_no_chunk_is_no_work(numbers):
    assert list(stream.flow(CountingSource(), [], Compute("auto", 2))) == []


def test_an_error_ends_everything(monkeypatch):
    def failing(source, chunk, raw, compute):
        if chunk.tensor is TENSORS[3]:
            raise ZeroDivisionError
        return []

    monkeypatch.setattr(stream, "make", failing)
    source, before = CountingSource(), threading.active_count()
    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(chunk.tensor.name for chunk, _ in stream.flow(source, all_chunks(*TENSORS), Compute("auto", 2)))
    assert set(seen) == {"t0", "t1", "t2"}
    assert source.asked < len(all_chunks(*TENSORS))
    assert threading.active_count() == before


def test_leaving_early_drops_what_waits(numbers):
    source, before = CountingSource(), threading.active_count()
    flow = stream.flow(source, all_chunks(*TENSORS), Compute("auto", 1))
    next(flow)
    flow.close()
    assert source.asked <= chunks_in_flight(1) + 1
    assert threading.active_count() == before


def test_chunks_cover_a_tensor_and_stop_at_the_end_of_a_matrix(monkeypatch):
    monkeypatch.setattr("core.plan.CHUNK_ELEMENTS", 3 * 8)
    tensor = SourceTensor("experts", (4, 7, 8), "F32", 4 * 7 * 32)

    class Experts:
        matrices = 4

    whole, apart = (
        list(chunks_of(tensor, [wanted], Compute("auto", 1))) for wanted in (type("One", (), {"matrices": 1}), Experts)
    )
    assert [(chunk.first, chunk.rows) for chunk in whole] == [(first, min(3, 28 - first)) for first in range(0, 28, 3)]
    assert [chunk.rows for chunk in apart] == [3, 3, 1] * 4
    assert [chunk.is_last for chunk in apart] == [False] * 11 + [True]
