"""The one entry: no argument opens the window, a subcommand is the command line, `--worker` is the child process.

Each side is imported only when it is wanted, so that none pays for the others.
"""

from __future__ import annotations

import sys

WINDOW_OPTIONS = frozenset({"--reset-settings"})


def main(arguments: list[str]) -> int:
    """Runs the side that the arguments ask for and returns the exit code."""
    if arguments == ["--worker"]:
        from core.worker import main as run_worker

        return run_worker()
    if WINDOW_OPTIONS.issuperset(arguments):
        from app.bootstrap import main as open_window

        return open_window(arguments)
    from app.cli import main as run_command

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
