"""The note about torch with CUDA: printed before the first installation where it applies, and only there."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def build(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """packaging/torch_build.py on a Linux machine without a GPU, where pip would take the build with CUDA."""
    module = load_script("torch_build")
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(module, "torch_requirements", lambda: ["filelock", "nvidia-cublas==13.1; platform_system"])
    return module


def test_note_where_cuda_is_of_no_use(build: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main() == 0
    assert "make run TORCH_INDEX=URL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "answer"),
    [("torch_requirements", ["filelock"]), ("torch_requirements", []), ("has_nvidia_gpu", True)],
)
def test_silent_elsewhere(
    build: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    answer: object,
) -> None:
    monkeypatch.setattr(build, name, lambda: answer)
    assert build.main() == 0
    assert capsys.readouterr().out == ""
