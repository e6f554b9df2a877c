"""Quantizes a model with less memory than its weights take, and may end itself; a program of its own, for test_limited.

Usage: `python limited.py SMALL SOURCE OUTPUT ALLOWED KILL_AFTER`. The small model goes first, so that libraries and
compiled code are there; then the process may take ALLOWED bytes of data more than it has. It ends itself by SIGKILL
when it has solved KILL_AFTER layers (0: never), or prints a JSON object with what it found.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from core import engine
from core.checkpoints.solutions import Solutions
from core.jobs import CheckpointJob, CheckpointPlanJob, MethodOptions

OPTIONS = MethodOptions(
    method="gptq", export="compressed-tensors", bits=4, group=64, range="minmax", samples=8, length=64
)


def data_bytes() -> int:
    """The private memory of this process that its limit counts."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """See the module's text."""
    small, source, output, allowed, kill_after = *sys.argv[1:4], *map(int, sys.argv[4:6])
    engine.run(CheckpointJob(source=small, output=f"{output}-small-{kill_after}", options=OPTIONS))
    plan = engine.run(CheckpointPlanJob(source=source, options=OPTIONS))
    solved = 0
    keep = Solutions.keep

    def counted(self: Solutions, layer: int, found: Any) -> None:
        nonlocal solved
        keep(self, layer, found)
        solved += 1
        if solved == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    Solutions.keep = counted  # type: ignore[method-assign]
    limit = data_bytes() + allowed
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    result = engine.run(CheckpointJob(source=source, output=output, options=OPTIONS))
    found = {"sha256": result.sha256, "peak": result.peak_memory_bytes, "solved": solved, "planned": plan.memory_bytes}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
