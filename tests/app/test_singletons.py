"""The interpreter survives more calls into Qt than None has references."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CALLS = """
from PySide6.QtCore import QObject
thing = QObject()
for number in range(50_000):
    thing.setObjectName("x")
"""


def test_many_calls_without_a_result_do_not_end_the_interpreter():
    program = f"import app\n{CALLS}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_reserve_is_added_once():
    from app.singletons import RESERVE, keep_alive

    before = sys.getrefcount(None)
    keep_alive()

    assert abs(sys.getrefcount(None) - before) < RESERVE // 2
