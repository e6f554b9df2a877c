"""Keeps what native code prints away from standard output and the terminal, and in reach for error messages."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

OUT, ERR = 1, 2
QUIET_S, PATIENCE_S = 0.03, 1.0
# Two threads must not stop and start the printing thread at once.
_flushing = threading.Lock()
_ERROR_LINE = re.compile(r"^(?:\d+\.)+\d+ E +(?P<message>.*)$")
_FUNCTION_NAME = re.compile(r"^(?:[a-z]{3,5} +)?[\w~]+: +")
_CAUSE = "error loading model: "


class NativeLog:
    """What has been printed so far. It is kept in a file, so that a flood of lines can block nobody."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def lines(self) -> list[str]:
        """All lines since the beginning, after the printing thread has come to rest."""
        self.settle()
        self._file.seek(0)
        return self._file.read().decode(errors="replace").splitlines()

    def reason(self) -> str:
        """The cause of a failure in llama.cpp's own words, '' where it said nothing."""
        messages = [match["message"] for match in map(_ERROR_LINE.match, self.lines()) if match]
        causes = [message.split(_CAUSE, 1)[1] for message in messages if _CAUSE in message]
        return _FUNCTION_NAME.sub("", (causes or messages or [""])[0])

    def settle(self) -> None:
        """Has llama.cpp, which prints from a thread of its own, print what it has; where it cannot be told to, waits.

        The waiting ends when the file has not grown for a while.
        """
        if _flush_native_log():
            return
        until = time.monotonic() + PATIENCE_S
        size = -1
        while (now := os.fstat(self._file.fileno()).st_size) != size and time.monotonic() < until:
            size = now
            time.sleep(QUIET_S)


@contextmanager
def captured() -> Iterator[NativeLog]:
    """Sends descriptors 1 and 2 to a file; Python's own sys.stdout and sys.stderr keep going where they went."""
    with tempfile.TemporaryFile() as file, _moved("stdout", OUT, file), _moved("stderr", ERR, file):
        log = NativeLog(file)
        try:
            yield log
        finally:
            log.settle()
            _flush_c_streams()


@contextmanager
def _moved(name: str, descriptor: int, file: IO[bytes]) -> Iterator[None]:
    """Points one descriptor at `file`, and the Python stream that wrote to it at a duplicate of its old target."""
    stream = getattr(sys, name)
    kept = os.dup(descriptor)
    twin = None
    if _writes_to(stream, descriptor):
        stream.flush()
        twin = os.fdopen(os.dup(descriptor), "w", encoding=stream.encoding, errors=stream.errors, buffering=1)
        setattr(sys, name, twin)
    os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        if twin is not None:
            setattr(sys, name, stream)
            twin.close()


def _flush_native_log() -> bool:
    """Whether llama.cpp has been told to print everything in its queue, and has; also where it is not loaded at all.

    Its functions for this (common/log.h) are in the module that holds it, under the names that compilers of C++ give
    them but on Windows.
    """
    library = sys.modules.get("xllamacpp.xllamacpp")
    if library is None:
        return True
    native = ctypes.CDLL(str(library.__file__))
    try:
        main, flush = native._Z15common_log_mainv, native._Z16common_log_flushP10common_log
    except AttributeError:
        return False
    main.restype, flush.argtypes, flush.restype = ctypes.c_void_p, (ctypes.c_void_p,), None
    with _flushing:
        flush(main())
    return True


def _writes_to(stream: IO[str] | None, descriptor: int) -> bool:
    """Whether a Python stream ends in that descriptor (test runners and windowed programs put others in its place)."""
    try:
        return stream is not None and stream.fileno() == descriptor
    except (OSError, ValueError, AttributeError):
        return False


def _flush_c_streams() -> None:
    """Empties C's own buffers, which would otherwise be written after the descriptors are back in place."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
