"""Progress reports at most every 0.1 s, always at stage ends, and cancels at any call."""

from __future__ import annotations

import pytest

from core.errors import Cancelled
from core.progress import Progress, Snapshot


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched() -> tuple[Progress, list[Snapshot], Clock]:
    seen: list[Snapshot] = []
    clock = Clock()
    return Progress(seen.append, clock=clock), seen, clock


def test_reports_are_throttled_but_the_end_of_a_stage_is_not():
    progress, seen, clock = watched()
    progress.stage("Reading", 1000)
    for done in range(1, 1001):
        clock.now += 0.001
        progress.update(done)
    assert len(seen) <= 12
    assert (seen[0].done, seen[-1].done) == (0, 1000)
    assert seen[-1].fraction == 1


def test_rate_and_time_left_follow_from_what_was_done():
    progress, seen, clock = watched()
    progress.stage("Reading", 100, "tensors")
    clock.now = 2.0
    progress.update(25, "blk.0")
    last = seen[-1]
    assert (last.stage, last.unit, last.note) == ("Reading", "tensors", "blk.0")
    assert (last.rate, last.eta_s, last.elapsed_s) == (12.5, 6.0, 2.0)


def test_nothing_done_yet_has_no_time_left():
    progress, seen, _ = watched()
    progress.stage("Reading", 100)
    assert seen[-1].eta_s is None
    assert Snapshot(stage="x").fraction == 0


@pytest.mark.parametrize("call", [lambda p: p.stage("next"), lambda p: p.update(1)])
def test_any_call_cancels(call):
    wanted = False
    progress = Progress(cancelled=lambda: wanted)
    call(progress)
    wanted = True
    with pytest.raises(Cancelled):
        call(progress)
