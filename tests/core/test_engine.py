"""The one door: every kind leads to a function that exists, and opening the door is cheap."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from core.engine import FUNCTIONS, run
from core.errors import SourceNotFound
from core.jobs import InspectJob

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", FUNCTIONS.values())
def test_every_function_named_exists(target):
    module, name = target.split(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_errors_of_the_engine_pass_through():
    with pytest.raises(SourceNotFound):
        run(InspectJob(source="/nowhere/model.gguf"))


def test_the_door_imports_nothing_heavy():
    script = (
        "import sys, core.engine; print(*sorted({'numpy', 'torch', 'numba', 'gguf', 'PySide6'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
