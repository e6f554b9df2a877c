"""Runs the real command line in a process of its own, as a user would, and measures its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

# A process between the test and the command: a child's peak memory begins with that of its parent, and the tests' own
# process may be large.
MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([done.returncode, done.stdout, done.stderr, peak]))
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. peak_bytes: its largest resident memory."""

    code: int
    out: str
    err: str
    peak_bytes: int

    @property
    def value(self) -> dict:
        """Standard output as the one JSON object it should be."""
        return json.loads(self.out)


def arguments(*words: object) -> list[str]:
    """The command as an argument list."""
    return [sys.executable, str(ROOT / "main.py"), *map(str, words)]


def run(*words: object, **environment: str) -> Ran:
    """Runs `main.py` with these words to its end."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments(*words)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
        timeout=280,
    )
    return Ran(*json.loads(done.stdout))
