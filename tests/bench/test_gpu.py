"""The benchmark of the GPU: every case that it measures runs, here on the processor, and without CUDA it says so."""

from __future__ import annotations

import pytest
import torch

from bench import gpu


def test_without_a_device_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 0
    assert "no CUDA device" in capsys.readouterr().out


def test_cases_are_what_the_device_searches_for() -> None:
    assert list(gpu.cases("fast", ["Q4_K", "IQ2_S", "MXFP4"])) == [
        ("Q4_K", False),
        ("Q4_K", True),
        ("IQ2_S", False),
        ("IQ2_S", True),
        ("MXFP4", False),
    ]
    assert list(gpu.cases("best", ["MXFP4"])) == [("MXFP4", False), ("MXFP4", True)]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_format_has_all_its_figures(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "CHUNK", 4 * gpu.ROW)
    row = gpu.measure("Q4_K", "fast", weighted, total=1.0)
    assert min(row.whole, row.search, row.search_torch) > 0
