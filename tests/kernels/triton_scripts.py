"""Runs scripts about Triton's kernels in a process of their own, since an import settles whether it interprets."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed: builds of torch with CUDA bring it"
)


def run(script: str, interpreted: str) -> None:
    """In Triton's interpreter ("1"), or with what it compiles ("0"). Raises CalledProcessError, TimeoutExpired."""
    known = {**os.environ, "TRITON_INTERPRET": interpreted, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    subprocess.run([sys.executable, "-c", script], env=known, cwd=ROOT, check=True, timeout=240)
