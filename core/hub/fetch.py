"""Fills a partial file from the Hub over several connections: retries, stalls, a limit on the bandwidth."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import DownloadBroken
from core.hub.partial import PartialFile, Piece
from core.hub.transfer import PassingError, RangesRefused, Remote

SAVE_EVERY_S = 1.0
LOOK_EVERY_S = 0.05
LEAST_BYTES = 1024


@dataclass(frozen=True)
class Manners:
    """How a download behaves towards the server. Times in seconds, limit in bytes per second (0 = none).

    tries: in a row without a single byte, before it is given up. stall_s: so long without LEAST_BYTES is a stall.
    """

    connections: int = 4
    limit: int = 0
    piece_bytes: int = 32 << 20
    tries: int = 8
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    stall_s: float = 30.0


@dataclass
class Throttle:
    """Shares a bandwidth between the connections of a download."""

    limit: int
    _free_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, n_bytes: int, stopped: threading.Event) -> None:
        """Waits until `n_bytes` more are within the limit."""
        if not self.limit:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + n_bytes / self.limit
            wait = self._free_at - time.monotonic()
        stopped.wait(wait)


class Fetch:
    """One file on its way. Its threads end by themselves; what they still receive after `run` is not written."""

    def __init__(self, remote: Remote, part: PartialFile, manners: Manners, throttle: Throttle) -> None:
        self._remote = remote
        self._part = part
        self._manners = manners
        self._throttle = throttle
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._open: list[Piece] = []
        self._failure: BaseException | None = None
        self.received = 0

    def run(self, tick: Callable[[int], None]) -> None:
        """Fetches what is missing. tick: called with the bytes on disk, may raise to stop.

        Raises what `Remote.read` and `PartialFile.write` raise but PassingError, DownloadBroken, and what tick raises.
        """
        try:
            self._run_pieces(self._manners.connections, tick)
        except RangesRefused:
            self._part.join()
            self._run_pieces(1, tick)

    def _run_pieces(self, connections: int, tick: Callable[[int], None]) -> None:
        self._open = [piece for piece in reversed(self._part.pieces) if piece.done < piece.length]
        self._stopped, self._failure = threading.Event(), None
        count = min(connections, len(self._open))
        threads = [threading.Thread(target=self._work, args=(self._stopped,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads, tick)
        finally:
            self._stopped.set()
        if self._failure is not None:
            raise self._failure

    def _watch(self, threads: list[threading.Thread], tick: Callable[[int], None]) -> None:
        saved = time.monotonic()
        while any(thread.is_alive() for thread in threads) and not self._stopped.is_set():
            self._stopped.wait(LOOK_EVERY_S)
            tick(self._part.done)
            if time.monotonic() - saved >= SAVE_EVERY_S:
                self._part.save()
                saved = time.monotonic()

    def _work(self, stopped: threading.Event) -> None:
        try:
            while not stopped.is_set():
                with self._lock:
                    if not self._open:
                        return
                    piece = self._open.pop()
                self._fill(piece, stopped)
        except BaseException as error:
            if not stopped.is_set():
                self._failure = error
                stopped.set()

    def _fill(self, piece: Piece, stopped: threading.Event) -> None:
        failures = 0
        while piece.done < piece.length and not stopped.is_set():
            before = piece.done
            try:
                self._receive(piece, stopped)
            except PassingError as error:
                failures = 1 if piece.done > before else failures + 1
                if failures >= self._manners.tries:
                    raise DownloadBroken(self._remote.file.name, str(error)) from error
                stopped.wait(self._wait(failures) if error.wait is None else error.wait)

    def _wait(self, failures: int) -> float:
        """Doubles with every failure; a little at random, so that connections do not all return at once."""
        wait = min(self._manners.first_wait_s * 2.0 ** (failures - 1), self._manners.longest_wait_s)
        return wait * random.uniform(0.75, 1.25)

    def _receive(self, piece: Piece, stopped: threading.Event) -> None:
        since, arrived = time.monotonic(), 0
        with self._remote.read(piece.start + piece.done, piece.stop) as chunks:
            for data in chunks:
                if stopped.is_set() or not self._part.write(piece, data):
                    return
                with self._lock:
                    self.received += len(data)
                if piece.done == piece.length:
                    return
                arrived += len(data)
                if time.monotonic() - since > self._manners.stall_s:
                    if arrived < LEAST_BYTES:
                        raise PassingError("the connection stalled")
                    since, arrived = time.monotonic(), 0
                self._throttle.spend(len(data), stopped)
        if piece.done < piece.length:
            raise PassingError("the connection ended early")
