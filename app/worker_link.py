"""One worker process and the QThread that owns it: JSON lines go in, signals come out.

It knows nothing of jobs, queues or chats; lane.py, questions.py and chat_worker.py give the lines their meaning.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from PySide6.QtCore import QThread, QTimer, Signal

log = logging.getLogger(__name__)
_worker_log = logging.getLogger("worker")

GRACE_S = 8.0
TERMINATE_S = 3.0
MAIN = Path(__file__).parents[1] / "main.py"
_alive: set[WorkerLink] = set()


class WorkerLink(QThread):
    """Starts `main.py --worker`, pumps its events into `event` and its standard error into `said`.

    `ended` carries the exit code, negative for a signal as in subprocess. All signals arrive in the thread of the
    receiver. The object keeps itself alive until its process is gone.
    """

    event = Signal(object)
    said = Signal(str)
    ended = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._unsent: list[bytes] = []
        self._closing = False
        self._deadline = QTimer(self)
        self._deadline.setSingleShot(True)
        self._deadline.timeout.connect(self._force)
        self.finished.connect(self._forget)
        _alive.add(self)

    @property
    def pid(self) -> int | None:
        """The worker's process id once it has started."""
        return self._process.pid if self._process else None

    def send(self, message: dict[str, Any]) -> None:
        """Writes one line to the worker, or keeps it until the process has started. A dead worker is no error."""
        line = json.dumps(message, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            if self._process is None:
                self._unsent.append(line)
            else:
                _write(self._process, line)

    def close_input(self) -> None:
        """Tells the worker that nothing more will come; it cancels what it does and ends, or is made to."""
        with self._lock:
            self._closing = True
            if self._process is not None:
                _close(self._process)
        if not self._deadline.isActive():
            self._deadline.start(int(GRACE_S * 1000))

    def terminate_process(self) -> None:
        """SIGTERM to the worker."""
        self._signal("terminate")

    def kill_process(self) -> None:
        """SIGKILL to the worker."""
        self._signal("kill")

    def run(self) -> None:
        """The thread: reads events until the worker closes its end, then waits for its exit code."""
        try:
            process = self._start_process()
        except OSError as error:
            log.exception("the worker process could not be started")
            self.said.emit(f"{error}\n")
            self.ended.emit(127)
            return
        assert process.stdout is not None
        assert process.stderr is not None
        errors = threading.Thread(target=self._pump_errors, args=(process.stderr,), name="worker-log", daemon=True)
        errors.start()
        for line in process.stdout:
            self._announce(line)
        code = process.wait()
        errors.join(timeout=2)
        _close(process)
        self.ended.emit(code)

    def _start_process(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(MAIN), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"},
            # Ctrl+C in a terminal is the window's business; it ends its workers in order.
            start_new_session=True,
        )
        with self._lock:
            self._process = process
            for line in self._unsent:
                _write(process, line)
            self._unsent.clear()
            if self._closing:
                _close(process)
        return process

    def _announce(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            log.warning("the worker wrote a line that is no event: %r", line[:200])
            return
        self.event.emit(event)

    def _pump_errors(self, stream: IO[bytes]) -> None:
        """Hands on what the worker logs, in pieces of at most one read, so that a flood stays cheap."""
        descriptor = stream.fileno()
        while piece := os.read(descriptor, 65536):
            self.said.emit(piece.decode(errors="replace"))
        stream.close()

    def _force(self) -> None:
        log.warning("the worker %s did not end in time; ending it", self.pid)
        self.terminate_process()
        QTimer.singleShot(int(TERMINATE_S * 1000), self, self.kill_process)

    def _signal(self, how: str) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                getattr(self._process, how)()

    def _forget(self) -> None:
        self._deadline.stop()
        self.wait()
        # Not here: the last reference must not go while Qt is still inside this object's slot.
        QTimer.singleShot(0, lambda: _alive.discard(self))


def end_all(deadline_s: float) -> None:
    """Ends every worker within the deadline, by force where needed, and waits for their threads; used on quitting."""
    links = [link for link in _alive if link.isRunning()]
    for link in links:
        link.close_input()
    _wait(links, deadline_s)
    for link in links:
        link.kill_process()
    _wait(links, TERMINATE_S)
    _alive.difference_update([link for link in links if link.isFinished()])


def _wait(links: Iterable[WorkerLink], seconds: float) -> None:
    until = time.monotonic() + seconds
    for link in links:
        link.wait(max(int((until - time.monotonic()) * 1000), 1))


def exit_words(code: int) -> str:
    """An exit code as a cause in words."""
    if code >= 0:
        return f"it ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"it was ended by signal {-code}"
    return _SIGNAL_WORDS.get(name, f"it was ended by {name}")


_SIGNAL_WORDS = {
    "SIGKILL": "it was killed (SIGKILL), perhaps because memory ran out",
    "SIGTERM": "it was asked to end (SIGTERM) by another program",
    "SIGSEGV": "it crashed (SIGSEGV)",
    "SIGABRT": "it stopped itself (SIGABRT) after an internal check failed",
    "SIGILL": "it met an instruction this processor does not have (SIGILL)",
    "SIGBUS": "it could not read a mapped file any further (SIGBUS), as when a disk is removed or full",
}


def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line)
        process.stdin.flush()
    except (BrokenPipeError, ValueError, OSError):
        log.info("a line for the worker %s came too late", process.pid)


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
    except OSError:
        log.info("the worker %s was gone before its input was closed", process.pid)


def log_worker(text: str) -> None:
    """Takes what a worker said on its standard error into the log of the window."""
    _worker_log.info(text.rstrip())
