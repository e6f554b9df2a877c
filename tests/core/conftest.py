"""Fixtures of the engine's tests: the sample as a Hugging Face folder, built once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a Hugging Face folder of two shards; tests must not change it."""
    from tests.core.hf_sample import build_hf_sample  # imports torch and transformers: only where it is used

    return build_hf_sample(tmp_path_factory.mktemp("hf") / "SmolLM2-135M-Instruct", shards=2)
