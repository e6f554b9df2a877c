"""Progress and cancellation in one call: engines report here, and are stopped here.

This module is light. A `Progress` is handed to every job; each loop over tensors, layers or batches calls it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from core.errors import Cancelled

INTERVAL_S = 0.1


# The output error of a layer, of which plain rounding's is known too.
LAYER_ERROR = "layer error"


class Measured(BaseModel):
    """A figure that is known before its job ends. of: which figure. name: of what.

    compared: what it would be otherwise (of the output error of a layer: by plain rounding), None where nobody knows.
    """

    model_config = ConfigDict(frozen=True)

    of: str
    name: str
    value: float
    compared: float | None = None


class Snapshot(BaseModel):
    """What a job is doing at one moment. done and total are in `unit`; rate is units per second.

    measured: a figure that has just become known, in this snapshot alone.
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    done: int = 0
    total: int = 0
    unit: str = "bytes"
    note: str = ""
    elapsed_s: float = 0.0
    rate: float = 0.0
    eta_s: float | None = None
    measured: Measured | None = None

    @property
    def fraction(self) -> float:
        """Share done, 0 to 1; 0 where the total is unknown."""
        return min(self.done / self.total, 1.0) if self.total else 0.0


class Progress:
    """Throttled reporting (10 Hz) and cancellation of one job.

    receive: called with a `Snapshot`. cancelled: asked at every call; where it answers True, `Cancelled` is raised.
    """

    def __init__(
        self,
        receive: Callable[[Snapshot], None] = lambda snapshot: None,
        cancelled: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive = receive
        self._cancelled = cancelled
        self._clock = clock
        self._stage, self._total, self._unit = "", 0, "bytes"
        self._begun = self._done = 0
        self._note = ""
        self._started = clock()
        self._last_sent = float("-inf")

    def stage(self, name: str, total: int = 0, unit: str = "bytes", begun: int = 0) -> None:
        """Begins a stage of `total` units, `begun` of them done before; always reported. Raises Cancelled."""
        self._stage, self._total, self._unit, self._begun = name, total, unit, begun
        self._started = self._clock()
        self._last_sent = float("-inf")
        self.update(begun)

    def update(self, done: int, note: str = "") -> None:
        """Reports `done` units of this stage, at most every 0.1 s and at its end. Raises Cancelled."""
        if self._cancelled():
            raise Cancelled
        self._done, self._note = done, note
        now = self._clock()
        finished = self._total > 0 and done >= self._total
        if now - self._last_sent < INTERVAL_S and not finished:
            return
        self._last_sent = now
        self._send(now, done, note)

    def tick(self) -> None:
        """Says nothing new, where something is waited for. Raises Cancelled."""
        self.update(self._done, self._note)

    def measured(self, figure: Measured) -> None:
        """Reports a figure, at once whatever was reported before. Raises Cancelled."""
        if self._cancelled():
            raise Cancelled
        self._send(self._clock(), self._done, self._note, figure)

    def _send(self, now: float, done: int, note: str, figure: Measured | None = None) -> None:
        elapsed = now - self._started
        rate = (done - self._begun) / elapsed if elapsed > 0 else 0.0
        left = (self._total - done) / rate if rate > 0 and self._total else None
        self._receive(
            Snapshot(
                stage=self._stage,
                done=done,
                total=self._total,
                unit=self._unit,
                note=note,
                elapsed_s=elapsed,
                rate=rate,
                eta_s=left,
                measured=figure,
            )
        )
