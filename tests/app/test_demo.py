"""The headless demo of `make run`: the real path on the real sample, twice, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from app import demo
from core.errors import Cancelled, DiskFull

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's demo writes."""
    monkeypatch.setattr(demo, "FOLDER", tmp_path / "demo")
    return tmp_path / "demo"


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Makes the quantization of the demo fail."""

    def fail(source: Path) -> NoReturn:
        raise error

    monkeypatch.setattr(demo, "quantize", fail)


def test_the_whole_demo_runs_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It quantizes, draws, chats, and writes over what an earlier run left."""
    for _ in range(2):
        assert demo.main() == 0
        said = capsys.readouterr().out
        assert "Paris" in said
        assert "xvfb-run make run" in said
        assert "could not be drawn" not in said
        assert {path.suffix for path in folder.iterdir()} == {".gguf", ".json", ".png"}
        assert all(path.read_bytes().startswith(PNG) for path in folder.glob("*.png"))


def test_where_qt_cannot_be_loaded_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a machine without Qt's system libraries: only the plots are missing, and it says why."""
    broken = tmp_path / "broken" / "PySide6"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise ImportError("libEGL.so.1: cannot open shared object file")')
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    assert demo.main() == 0
    said = capsys.readouterr().out
    assert "The plots could not be drawn: ImportError: libEGL.so.1" in said
    assert "Paris" in said


def test_without_the_sample_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.catalog, "sample_path", lambda: None)
    assert demo.main() == 2
    assert "make run" in capsys.readouterr().err


def test_a_failed_job_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, DiskFull("x.gguf", 2**30, 2**20))
    assert demo.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: There is not enough room for x.gguf")
    assert error.count("\n") == 1


def test_an_interruption_is_not_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, Cancelled())
    assert demo.main() == 130
    assert capsys.readouterr().err == ""


def test_a_bug_is_one_line_and_its_traceback_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("by zero"))
    assert demo.main() == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert "ZeroDivisionError: by zero" in (folder / "error.txt").read_text()
