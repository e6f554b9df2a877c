"""The one entry: no argument or a model opens the window, a subcommand is the command line, `--worker` the child.

Each side is imported only when it is wanted, so that none pays for the others.
"""

from __future__ import annotations

import sys

WINDOW_OPTIONS = frozenset({"--reset-settings"})


def is_model(arguments: list[str]) -> bool:
    """Whether there is nothing but the path of a .gguf file or of a folder, as a desktop gives it."""
    if len(arguments) != 1:
        return False
    import os

    path = arguments[0]
    return os.path.isfile(path) if path.lower().endswith(".gguf") else os.sep in path and os.path.isdir(path)


def main(arguments: list[str]) -> int:
    """Runs the side that the arguments ask for and returns the exit code."""
    if arguments == ["--worker"]:
        from core.worker import main as run_worker

        return run_worker()
    if WINDOW_OPTIONS.issuperset(arguments) or is_model(arguments):
        from app.bootstrap import main as open_window

        return open_window(arguments)
    from app.cli import main as run_command

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
