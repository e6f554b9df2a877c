"""Cold start of the window: seconds from the start of the process to the first paint, and what it had loaded by then.

Usage: `packaging/virtual_screen.sh python -m bench.startup [RUNS]`. Each run is a new process with empty settings
and data; the window measures from the time the system says its process began (BITWRIGHT_STARTUP_PROBE). The files
are in the system's cache after the first run, which is shown but not counted. Exit code 1 where the target is missed
or a heavy library was loaded before the first paint.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.report import Figure, show

ROOT = Path(__file__).resolve().parents[1]
TARGET_S = 1.2
FORBIDDEN = {"torch", "numba", "transformers"}
RUNS = 7


def start_once() -> dict[str, Any]:
    """Starts the window, which closes itself after its first paint, and returns what it says."""
    with tempfile.TemporaryDirectory() as folder:
        own = {f"BITWRIGHT_{name}_DIR": f"{folder}/{name.lower()}" for name in ("DATA", "CONFIG", "LOG")}
        done = subprocess.run(
            [sys.executable, str(ROOT / "main.py")],
            env=os.environ | own | {"BITWRIGHT_STARTUP_PROBE": "1"},
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            check=True,
        )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def main(runs: int) -> int:
    """Measures, prints, and returns 1 where it is too slow or not light."""
    first = start_once()
    reports = [start_once() for _ in range(runs)]
    seconds = [report["first_paint_s"] for report in reports]
    loaded = {name for report in [first, *reports] for name in report["heavy_modules"]}
    missed = show(
        f"Start of the window to its first paint, {runs} runs",
        [
            Figure("median", statistics.median(seconds), "s", TARGET_S, at_most=True),
            Figure("fastest", min(seconds), "s"),
            Figure("slowest", max(seconds), "s"),
            Figure("very first run", first["first_paint_s"], "s"),
        ],
    )
    platform = os.environ.get("QT_QPA_PLATFORM") or f"display {os.environ.get('DISPLAY', 'of the system')}"
    print(f"  Qt platform: {platform}; heavy libraries loaded before the first paint: {', '.join(loaded) or 'none'}")
    return 1 if missed or loaded & FORBIDDEN else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else RUNS))
