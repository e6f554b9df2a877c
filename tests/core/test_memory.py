"""Large buffers go back to the system at once, so that memory does not grow with how many were used."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

KEPT = """
import numpy as np, psutil
from core.memory import return_large_buffers
{first}
np.ones(16 << 20, np.uint8)  # freeing one so large tells glibc to keep such in its heap
before = psutil.Process().memory_info().rss
large, pins = [], []
for _ in range(20):
    large.append(np.ones(4 << 20, np.uint8))
    pins.append(np.ones(60_000, np.uint8))
large.clear()
print((psutil.Process().memory_info().rss - before) >> 20)
"""


def kept(first: str) -> int:
    """MiB that a process keeps of 80 it has freed, where small buffers lie between."""
    done = subprocess.run([sys.executable, "-c", KEPT.format(first=first)], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not told")
def test_large_buffers_do_not_stay():
    assert kept("") > 60
    assert kept("return_large_buffers()") < 20
