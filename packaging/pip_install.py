"""Runs `pip install` quietly: errors are shown, and on a terminal the time it takes, so that waiting is not guessing.

Usage: `python packaging/pip_install.py WORDS ARGUMENTS...`; WORDS say what is being installed, ARGUMENTS are pip's.
Standard library only; run by the Python of the environment to install into.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ("-qq", "--disable-pip-version-check", "--no-input", "-c", "packaging/constraints.txt")
TICK_S = 1.0


def wait(process: subprocess.Popen[bytes], words: str) -> int:
    """Waits for pip and returns its exit code, counting the time on one line of a terminal."""
    began = time.monotonic()
    if not sys.stdout.isatty():
        print(f"{words} …", flush=True)
        return process.wait()
    while True:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"\r{words} … {minutes}:{seconds:02}", end="", flush=True)
        try:
            code = process.wait(TICK_S)
        except subprocess.TimeoutExpired:
            continue
        print()
        return code


def main(words: str, arguments: list[str]) -> int:
    """Installs and returns pip's exit code; 130 where the user interrupted it."""
    command = [sys.executable, "-m", "pip", "install", *OPTIONS, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        return wait(process, words)
    except KeyboardInterrupt:
        print()
        process.wait()
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
