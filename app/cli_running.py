"""How the command line runs a job: progress on a terminal, signals, the history, and a clean standard output."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from pydantic import ValidationError

from app import cli_text as text
from core import engine
from core.errors import BadInput, BitwrightError, Cancelled, ErrorReport
from core.jobs import Job, QuantizeManyResult, Result, kept
from core.progress import Progress, Snapshot
from core.store import Store

STORED_PROGRESS_S = 2.0


@dataclass
class Recorder:
    """Keeps a job in the history while it runs. The history is a convenience: where it fails, the job goes on."""

    job: Job
    id: str = ""
    _store: Store | None = field(default=None, repr=False)
    _stored_at: float = float("-inf")

    def __enter__(self) -> Recorder:
        with self._tolerant():
            self._store = Store()
            self.id = self._store.add(as_recorded(self.job), "running")
            self._store.start(self.id)
        return self

    def progress(self, snapshot: Snapshot) -> None:
        """Keeps the progress now and then."""
        if self._store is not None and abs(snapshot.elapsed_s - self._stored_at) >= STORED_PROGRESS_S:
            self._stored_at = snapshot.elapsed_s
            with self._tolerant():
                self._store.progress(self.id, snapshot)

    def finish(self, result: Result) -> None:
        """Keeps the result; what happens afterwards is no longer the job's."""
        if self._store is not None:
            with self._tolerant():
                self._store.finish(self.id, result)
            self._store = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._store is None or error is None:
            return
        with self._tolerant():
            if isinstance(error, BadInput | ValidationError):
                self._store.remove(self.id)  # nothing was started
            elif isinstance(error, Cancelled | KeyboardInterrupt):
                self._store.cancel(self.id)
            else:
                details = "" if isinstance(error, BitwrightError) else "".join(traceback.format_exception(error))
                self._store.fail(self.id, ErrorReport.of(error, details))

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._store = None
            sys.stderr.write(f"note: The job history cannot be written ({error}).\n")


def as_recorded(job: Job) -> Job:
    """A job as the history keeps it: the window resumes by itself what was begun in the window, and nothing else."""
    return kept(job, keep=False, resume=False)


class Recorders:
    """Keeps the jobs of one pass over a source in the history, each with its own result."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._all = [Recorder(job) for job in jobs]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Recorders:
        for recorder in self._all:
            self._stack.enter_context(recorder)
        return self

    def progress(self, snapshot: Snapshot) -> None:
        """Keeps the progress, which is that of all."""
        for recorder in self._all:
            recorder.progress(snapshot)

    def finish(self, result: Result) -> None:
        """Keeps every job's own result."""
        assert isinstance(result, QuantizeManyResult)
        for recorder, own in zip(self._all, result.results, strict=True):
            recorder.finish(own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def run_job(job: Job, recorder: Recorder | Recorders | None = None) -> Result:
    """Runs a job in this process with everything around it. Raises what the job raises."""
    line = StatusLine()
    with interruptible() as interrupted, own_output():
        progress = Progress(_all(line.show, recorder.progress if recorder else None), interrupted)
        try:
            result = engine.run(job, progress)
        finally:
            line.clear()
    if recorder is not None:
        recorder.finish(result)
    return result


def _all(*receivers: Callable[[Snapshot], None] | None) -> Callable[[Snapshot], None]:
    def receive(snapshot: Snapshot) -> None:
        for receiver in receivers:
            if receiver is not None:
                receiver(snapshot)

    return receive


class StatusLine:
    """The progress on one line of standard error, where that is a terminal."""

    def __init__(self) -> None:
        self._width = 0
        self._is_terminal = sys.stderr.isatty()

    def show(self, snapshot: Snapshot) -> None:
        """Replaces the line."""
        if self._is_terminal:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            line = text.progress_line(snapshot)[: columns - 1]
            sys.stderr.write("\r" + line.ljust(self._width))
            sys.stderr.flush()
            self._width = len(line)

    def clear(self) -> None:
        """Removes the line, so that what follows starts at the margin."""
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM let the job clean up and end; a second one ends it at once."""
    wanted = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal wanted
        if wanted:
            raise KeyboardInterrupt
        wanted = True

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def own_output() -> Iterator[None]:
    """While a job runs, whatever native code prints goes to standard error: standard output is for the answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
