"""The child process: reads jobs as JSON lines on standard input, writes events as JSON lines on standard output.

In:  `{"job": {...}, "id": "q1"}` runs a job (jobs run one after another); `{"cancel": "q1"}` stops that job and
`{"cancel": null}` the running one; during a chat session `{"say": {...}}` and `{"stop": true}` are handed to it.
Out: `{"id", "event": "progress" | "result" | "error" | "cancelled", ...}`; a chat session adds its own events.
The end of standard input cancels and ends the process, and so does the parent's death. File descriptor 1 is moved
away at the start, so that whatever native code prints lands on standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from core import engine
from core.errors import BitwrightError, Cancelled, ErrorReport
from core.jobs import JOB, ChatSessionJob, Job
from core.progress import Progress, Snapshot

GRACE_S = 10
PR_SET_PDEATHSIG = 1

Event = dict[str, Any]
Commands = queue.Queue[Event | None]


@dataclass(slots=True)
class Request:
    """One job asked for, the id under which its events are reported, and what may reach it while it runs.

    commands: messages of a chat session, as they came; None means that the session is to end.
    """

    job: Job
    id: str | None
    stop: threading.Event = field(default_factory=threading.Event)
    commands: Commands = field(default_factory=queue.Queue)

    def cancel(self) -> None:
        """Asks the job to stop, whether it waits or runs."""
        self.stop.set()
        self.commands.put(None)


class Outbox:
    """Writes events, one JSON line each, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Writes one event; a parent that no longer listens is no reason to fail (its end of the pipe ends us)."""
        line = json.dumps(event, ensure_ascii=False)
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._file.write(line + "\n")
            self._file.flush()


class Inbox:
    """Reads the parent's lines in a thread: hands out jobs in order, passes cancellations and chat messages to them."""

    def __init__(self, lines: IO[str], complain: Callable[[Event], None]) -> None:
        self._lines = lines
        self._complain = complain
        self._waiting: queue.Queue[Request | None] = queue.Queue()
        self._open: list[Request] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def take(self) -> Request | None:
        """Waits for the next job; None when there will be no more."""
        return self._waiting.get()

    def done(self, request: Request) -> None:
        """The job taken has ended; what comes too late for it must not hit the next one."""
        with self._lock:
            self._open.remove(request)

    def close(self) -> None:
        """Cancels every job and lets the process end, by force if the running one does not let go in time."""
        with self._lock:
            for request in self._open:
                request.cancel()
        self._waiting.put(None)
        # The alarm's default action ends the process even while native code runs.
        if hasattr(signal, "alarm"):
            signal.alarm(GRACE_S)

    def _read(self) -> None:
        with self._lines:
            for line in self._lines:
                if line.strip():
                    self._accept(line)
        self.close()

    def _accept(self, line: str) -> None:
        try:
            message = json.loads(line)
            if "job" in message:
                self._add(Request(JOB.validate_python(message["job"]), message.get("id")))
            elif "cancel" in message:
                self._first(lambda request: message["cancel"] in (None, request.id), Request.cancel)
            elif "say" in message or "stop" in message:
                self._first(lambda request: True, lambda request: request.commands.put(message))
            else:
                raise ValueError(f"unknown message with the keys {sorted(message)}")
        except (ValueError, TypeError, AttributeError) as error:
            self._complain(_failure(error))

    def _add(self, request: Request) -> None:
        with self._lock:
            self._open.append(request)
        self._waiting.put(request)

    def _first(self, wanted: Callable[[Request], bool], action: Callable[[Request], None]) -> None:
        """Does something to the oldest open job that is wanted: the running one, or the next to run."""
        with self._lock:
            for request in filter(wanted, self._open):
                action(request)
                break


def main() -> int:
    """Serves jobs until standard input ends; always 0, because a job's failure is an event."""
    outbox = Outbox(_claim_standard_output())
    faulthandler.enable(file=sys.stderr)
    _volunteer_for_out_of_memory()
    inbox = Inbox(os.fdopen(os.dup(0), encoding="utf-8"), outbox.send)
    _end_with_parent(inbox)
    while (request := inbox.take()) is not None:
        _serve(request, outbox)
        inbox.done(request)
    return 0


def _serve(request: Request, outbox: Outbox) -> None:
    """Runs one job and reports how it ended: the edge of the process, where every exception becomes an event.

    A chat session has no result: it ends when it is told to, and that is a cancellation.
    """

    def emit(event: Event) -> None:
        outbox.send({"id": request.id, **event})

    def report(snapshot: Snapshot) -> None:
        emit({"event": "progress", "snapshot": snapshot.model_dump()})

    try:
        if request.stop.is_set():
            raise Cancelled
        if isinstance(request.job, ChatSessionJob):
            from core.chat.session import run_session

            run_session(request.job, request.commands, emit)
            raise Cancelled
        result = engine.run(request.job, Progress(report, request.stop.is_set))
        emit({"event": "result", "result": result.model_dump(mode="json", by_alias=True)})
    except Cancelled:
        emit({"event": "cancelled"})
    except Exception as error:
        emit(_failure(error))


def _failure(error: Exception) -> Event:
    """The event for any exception; only a bug carries its traceback."""
    details = "" if isinstance(error, BitwrightError) else "".join(traceback.format_exception(error))
    return {"event": "error", "error": asdict(ErrorReport.of(error, details))}


def _claim_standard_output() -> int:
    """Keeps the pipe to the parent for events alone: whatever else writes to descriptor 1 lands on standard error."""
    descriptor = os.dup(1)
    os.set_inheritable(descriptor, False)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return descriptor


def _volunteer_for_out_of_memory() -> None:
    """Where memory runs out, Linux should end this process rather than the window."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")


def _end_with_parent(inbox: Inbox) -> None:
    """SIGTERM and the parent's death cancel the job and end the process; SIGINT is the parent's business."""
    parent = os.getppid()

    def close() -> None:
        # In a thread of its own, because the main thread may hold a lock that closing needs.
        threading.Thread(target=inbox.close, daemon=True).start()

    def on_hangup(number: int, frame: object) -> None:
        # Linux sends the parent-death signal also when only the parent's starting thread ends.
        if os.getppid() != parent:
            close()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: close())
    if sys.platform == "linux":
        signal.signal(signal.SIGHUP, on_hangup)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
