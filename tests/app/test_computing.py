"""Where jobs compute: GPUs as NVIDIA's tool lists them, whether PyTorch can use them, and what the user chose."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtWidgets import QComboBox

from app.computing import Computing
from app.pages.quantize import QuantizePage
from app.pages.settings import SettingsPage
from app.settings import Settings
from app.theme import Theme
from app.widgets.device_box import DeviceBox
from app.widgets.memory_meter import GpuMeter
from core.estimate.machine import computes_on_gpus
from core.jobs import GptqOptions

WAIT = 180_000
LAYERS, SEARCHES = "for_layers", "for_searches"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch) -> Path:
    """The driver's tool, which lists one GPU, and a PyTorch that can use it."""
    if os.name == "nt":
        pytest.skip("the stand-in for the driver's tool is a shell script")
    found = tmp_path / "nvidia-smi"
    found.write_text("#!/bin/sh\necho 'NVIDIA X, 8192, 2048'\n")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("app.computing.computes_on_gpus", lambda: True)
    return found


@pytest.fixture
def computing(qapp, tool, qtbot):
    made = Computing(Settings())
    qtbot.waitUntil(lambda: bool(made.gpus), timeout=WAIT)
    yield made
    made.stop()


def test_the_meter_of_a_gpu(computing, qtbot):
    meter = GpuMeter(Theme("light"), computing)
    qtbot.addWidget(meter)
    computing.refresh()
    qtbot.waitUntil(lambda: meter.words() == "GPU 6.0 / 8.0 GiB", timeout=WAIT)
    assert "NVIDIA X" in meter.toolTip()


def test_no_meter_without_a_gpu(qapp, tmp_path: Path, monkeypatch, qtbot):
    monkeypatch.setenv("PATH", str(tmp_path))
    computing = Computing(Settings())
    meter = GpuMeter(Theme("light"), computing)
    qtbot.addWidget(meter)
    assert not meter.isVisibleTo(None)
    assert not computing._timer.isActive()
    assert not computing.has_cuda
    assert computing.for_layers == {"threads": 0, "device": "cpu"}


@pytest.mark.parametrize(
    ("chosen", "layers", "searches"),
    [("auto", "cuda", "cpu"), ("cpu", "cpu", "cpu"), ("cuda", "cuda", "cuda")],
)
def test_what_is_chosen_decides_the_device(computing, chosen, layers, searches):
    computing._settings.set("device", chosen)
    assert computing.for_layers["device"] == layers
    assert computing.for_searches["device"] == searches
    assert computing.on_processor["device"] == "cpu"


def test_a_pytorch_without_cuda_uses_no_gpu(tool, qtbot, monkeypatch):
    monkeypatch.setattr("app.computing.computes_on_gpus", lambda: False)
    computing = Computing(Settings())
    qtbot.waitUntil(lambda: bool(computing.gpus), timeout=WAIT)
    assert not computing.has_cuda
    assert computing.for_layers["device"] == "cpu"
    computing.stop()


@pytest.mark.parametrize(
    ("version", "requires", "visible", "expected"),
    [
        ("2.9.0+cpu", ["numpy"], None, False),
        ("2.9.0+cu130", None, None, True),
        ("2.9.0", ["filelock", "nvidia-cublas-cu12==12.8; platform_system == 'Linux'"], None, True),
        ("2.9.0", ["filelock"], None, False),
        ("2.9.0+cu130", None, "", False),
        ("2.9.0+cu130", None, "-1", False),
        ("2.9.0+cu130", None, "1", True),
    ],
)
def test_what_is_installed_tells_whether_gpus_are_used(monkeypatch, version, requires, visible, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = SimpleNamespace(version=version, requires=requires)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: found)
    assert computes_on_gpus() is expected


def test_the_choice_is_on_the_pages_where_there_is_one(tool, context, qtbot, sample):
    pages = [QuantizePage(context), SettingsPage(context)]
    for page in pages:
        qtbot.addWidget(page)
        page.show()
    quantize, settings = pages
    quantize.set_source(str(sample))
    box = quantize.findChild(QComboBox, "device")
    assert isinstance(box, DeviceBox)
    qtbot.waitUntil(lambda: box.isVisible() and settings.editors["device"].isEnabled(), timeout=WAIT)
    quantize.gguf.pane.allow.setChecked(True)
    assert quantize.goal.computed["device"] == "cpu"
    quantize.gguf.pane.gptq.box.setChecked(True)
    assert quantize.goal.computed["device"] == "cuda"
    quantize.gguf.pane.imatrix.set_text(())
    box.activated.emit(box.findData("cpu"))
    assert context.settings.value("device") == "cpu"
    assert settings.editors["device"].box.currentData() == "cpu"
    assert {job.device for job in quantize.jobs()} == {"cpu"}
    context.settings.set("device", "cuda")
    assert box.currentData() == "cuda"
    assert {job.device for job in quantize.jobs()} == {"cuda"}
    assert GptqOptions() == quantize.jobs()[-1].options.gptq
    context.computing.stop()
