"""Loads what the pages need before they are first opened, in a thread, so that opening them does not stutter.

Only modules are loaded here; widgets belong to the window's thread, which makes them once all modules are there.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Warmer:
    """Imports modules one after another in a thread of its own, then calls `done` in that thread."""

    def __init__(self, modules: tuple[str, ...], done: Callable[[], None]) -> None:
        self._modules = modules
        self._done = done
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._load, name="warmer")

    def start(self) -> None:
        """Begins; called once, after the window has been painted."""
        self._thread.start()

    def stop(self) -> None:
        """Skips what has not been begun and waits for the rest, so that no import is cut off by the end."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()

    def _load(self) -> None:
        for name in self._modules:
            if self._leave.is_set():
                return
            try:
                importlib.import_module(name)
            except ImportError:
                # Whoever opens the page will meet the same error and show it.
                log.exception("%s could not be loaded ahead", name)
        self._done()
