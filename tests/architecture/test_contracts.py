"""Every import contract of pyproject.toml is broken once, in a copy of the tree, and must fire by its name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.tree import CODE, ROOT


class Breach(NamedTuple):
    """A line that breaks a contract when it is added to a file."""

    contract: str
    file: str
    line: str


BREACHES = (
    Breach("app above core above kernels", "core/progress.py", "import app.text"),
    Breach("app above core above kernels", "kernels/blocks.py", "import core.errors"),
    Breach("the engine is Qt-free", "core/progress.py", "import PySide6.QtCore"),
    Breach("the command line is Qt-free", "app/cli.py", "import app.theme"),
    Breach("the window process is light", "kernels/blocks.py", "import torch"),
    Breach("the window process is light", "app/text.py", "import numba"),
    Breach("app sees only the light modules", "app/text.py", "import core.plan"),
    Breach("app sees only the light modules", "app/text.py", "from core.formats import gguf_reader"),
    Breach("app sees only the light modules", "app/text.py", "import kernels.codecs"),
    Breach("kernels know nothing of files or models", "kernels/codecs.py", "import safetensors"),
    Breach("formats are bytes without policy", "core/formats/gguf_reader.py", "import core.policy"),
    Breach("pages are independent", "app/pages/jobs.py", "import app.pages.settings"),
    Breach("widgets know no page and no process", "app/widgets/memory_bars.py", "import app.runner"),
)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the tree in `folder`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the source tree and its contracts, free to be broken."""
    for folder in CODE:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: f"{breach.file}: {breach.line}")
def test_breach_is_caught(copy: Path, breach: Breach) -> None:
    path = copy / breach.file
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{breach.line}\n", encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1, done.stdout
    assert f"{breach.contract} BROKEN" in done.stdout


def test_every_contract_has_a_breach() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contracts = {contract["name"] for contract in tools["importlinter"]["contracts"]}
    assert contracts == {breach.contract for breach in BREACHES}
