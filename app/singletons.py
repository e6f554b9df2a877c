"""Keeps None, True and False alive under bindings that take them for immortal.

PySide6 6.12 returns None from every call without a result but does not take the reference that it hands out. Since
Python 3.12 these objects are immortal (PEP 683) and nothing happens; before, the count reaches zero after some seven
thousand calls and the interpreter aborts ("deallocating None"). Here they get a reserve that no session uses up.
"""

from __future__ import annotations

import ctypes
import sys

RESERVE = 1 << 40
IMMORTAL_SINCE = (3, 12)


def keep_alive() -> None:
    """Adds the reserve, once, where this Python needs it; does nothing on another one."""
    if sys.implementation.name != "cpython" or sys.version_info >= IMMORTAL_SINCE:
        return
    for value in (None, True, False):
        if sys.getrefcount(value) < RESERVE // 2:
            # An object of CPython 3.11 begins with its reference count (object.h).
            ctypes.c_ssize_t.from_address(id(value)).value += RESERVE
