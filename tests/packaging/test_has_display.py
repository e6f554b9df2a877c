"""Whether a display is there: asked of the display itself, because Qt aborts where it is not."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="elsewhere a display is taken for granted")


@pytest.fixture
def display(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """packaging/has_display.py in an environment that names no display."""
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    return load_script("has_display")


def test_no_display(display: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert display.main() == 1
    assert capsys.readouterr().err == ""


def test_a_display_that_does_not_answer(
    display: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISPLAY", ":8765")
    assert display.main() == 1
    assert "DISPLAY=:8765 does not answer" in capsys.readouterr().err


def test_a_forwarded_display(display: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ssh -X gives it: a port on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(display, "X_PORT", server.getsockname()[1] - 10)
        monkeypatch.setenv("DISPLAY", "127.0.0.1:10.0")
        assert display.main() == 0


def test_a_wayland_display(display: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "wayland-7"))
        server.listen()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-7")
        assert display.main() == 0
