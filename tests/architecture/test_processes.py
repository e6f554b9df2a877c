"""What each process really loads, seen from inside a fresh interpreter: two sides that never meet."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

HEAVY = {"torch", "numba", "llvmlite", "triton", "transformers", "tokenizers", "safetensors", "gguf", "xllamacpp"}
QT = {"PySide6", "shiboken6", "pyqtgraph", "qtawesome", "qtpy"}

# Runs main.py's main with Qt made unimportable, then writes the names of all loaded modules to the file given first.
WITHOUT_QT = """
import json, pathlib, sys
sys.modules["PySide6"] = sys.modules["shiboken6"] = None
import main
code = main.main(sys.argv[2:])
loaded = sorted(name for name, module in sys.modules.items() if module is not None)
pathlib.Path(sys.argv[1]).write_text(json.dumps(loaded))
sys.exit(code)
"""

WINDOW = """
import json, sys
import app.bootstrap, app.main_window
import app.pages.chat, app.pages.jobs, app.pages.models, app.pages.quantize, app.pages.results, app.pages.settings
print(json.dumps(sorted(sys.modules)))
"""


def packages(names: list[str]) -> set[str]:
    """The first parts of dotted module names."""
    return {name.partition(".")[0] for name in names}


def run_without_qt(loaded: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs main.py's main with `arguments` in a fresh interpreter in which Qt cannot be imported."""
    command = [sys.executable, "-c", WITHOUT_QT, str(loaded), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def window_modules() -> list[str]:
    """The names of all modules in a process that has imported the window and every page."""
    command = [sys.executable, "-c", WINDOW]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return names


def test_the_window_process_is_light(window_modules: list[str]) -> None:
    """The window and its pages bring none of the engine's libraries, nor any kernel but the table of formats."""
    assert "PySide6" in window_modules
    assert packages(window_modules) & HEAVY == set()
    kernels = {name for name in window_modules if name.startswith("kernels.")}
    assert kernels <= {"kernels.blocks"}


def test_the_window_loads_no_plots_before_they_are_shown(window_modules: list[str]) -> None:
    """The plots' library costs a good part of a second, so no page imports it at module level."""
    assert "pyqtgraph" not in window_modules


@pytest.mark.parametrize("kind", ["inspect", "plan"])
def test_the_command_line_has_no_qt(kind: str, sample: Path, tmp_path: Path) -> None:
    options = {"inspect": [], "plan": ["--to", "Q4_K_M", "--allow-requantize"]}[kind]
    loaded = tmp_path / "modules.json"
    done = run_without_qt(loaded, kind, str(sample), *options, "--json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)
    assert packages(json.loads(loaded.read_text())) & QT == set()


def test_questions_about_headers_do_not_load_torch_or_numba(sample: Path, tmp_path: Path) -> None:
    loaded = tmp_path / "modules.json"
    assert run_without_qt(loaded, "inspect", str(sample), "--json").returncode == 0
    assert packages(json.loads(loaded.read_text())) & {"torch", "numba", "transformers"} == set()


def test_the_worker_has_no_qt(sample: Path, tmp_path: Path) -> None:
    """A worker answers a job over its pipe in an interpreter in which Qt cannot be imported."""
    loaded = tmp_path / "modules.json"
    command = [sys.executable, "-c", WITHOUT_QT, str(loaded), "--worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as worker:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(json.dumps({"id": "q", "job": {"kind": "inspect", "source": str(sample)}}) + "\n")
        worker.stdin.flush()
        events = (json.loads(line) for line in worker.stdout)
        answer = next(event for event in events if event["event"] != "progress")
        worker.stdin.close()
        assert worker.wait(timeout=240) == 0
    assert answer["event"] == "result", answer
    assert packages(json.loads(loaded.read_text())) & QT == set()
