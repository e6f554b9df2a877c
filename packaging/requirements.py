"""Prints requirements from pyproject.toml, one a line, so that dependencies are listed in one place only.

Usage: `python packaging/requirements.py` prints the run-time dependencies; with names of extras, those extras.
Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(*extras: str) -> list[str]:
    """The requirements of the named extras, or the run-time dependencies where none is named. Raises KeyError."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    if not extras:
        return list(project["dependencies"])
    return [line for extra in extras for line in project["optional-dependencies"][extra]]


if __name__ == "__main__":
    print("\n".join(requirements(*sys.argv[1:])))
