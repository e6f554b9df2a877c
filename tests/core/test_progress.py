"""Progress reports at most every 0.1 s, always at stage ends, and cancels at any call."""

from __future__ import annotations

import pytest

from core.errors import Cancelled
from core.progress import Measured, Progress, Snapshot

FIGURE = Measured(of="error", name="a", value=1.0)


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


def test_a_figure_is_reported_at_once_and_once():
    progress, seen, clock = watched()
    progress.stage("Reading", 100)
    clock.now = 0.01
    progress.update(25, "blk.0")
    figure = Measured(of="layer error", name="blk.0", value=0.5)
    progress.measured(figure)
    clock.now = 1
    progress.update(50)
    assert [snapshot.measured for snapshot in seen] == [None, figure, None]
    assert (seen[1].done, seen[1].note) == (25, "blk.0")


def test_nothing_done_yet_has_no_time_left():
    progress, seen, _ = watched()
    progress.stage("Reading", 100)
    assert seen[-1].eta_s is None
    assert Snapshot(stage="x").fraction == 0


@pytest.mark.parametrize("call", [lambda p: p.stage("next"), lambda p: p.update(1), lambda p: p.measured(FIGURE)])
def test_any_call_cancels(call):
    wanted = False
    progress = Progress(cancelled=lambda: wanted)
    call(progress)
    wanted = True
    with pytest.raises(Cancelled):
        call(progress)
