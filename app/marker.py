"""The mark of an open window in the data directory: tells a second window, and an end that was not clean.

The file holds the process id and its start time; it is removed when the window closes in order.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import psutil

from core.store import data_dir

Found = Literal["nothing", "open", "unclean"]


def _path() -> Path:
    return data_dir() / "window.json"


def look() -> Found:
    """What an earlier window left: nothing, a mark of a window that is open now, or one of a window that died."""
    try:
        mark = json.loads(_path().read_text(encoding="utf-8"))
        started = psutil.Process(mark["pid"]).create_time()
        return "open" if abs(started - mark["started"]) < 1 and mark["pid"] != os.getpid() else "unclean"
    except FileNotFoundError:
        return "nothing"
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return "unclean"


def leave() -> None:
    """Leaves this process' mark."""
    _path().parent.mkdir(parents=True, exist_ok=True)
    mark = {"pid": os.getpid(), "started": psutil.Process().create_time()}
    _path().write_text(json.dumps(mark), encoding="utf-8")


def remove() -> None:
    """The window has closed in order."""
    _path().unlink(missing_ok=True)
