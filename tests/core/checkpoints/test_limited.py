"""GPTQ with less memory than the model's weights take, killed twice and resumed: the same bytes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from core import engine
from core.jobs import CheckpointJob
from tests.core import hf_tiny
from tests.core.checkpoints.limited import OPTIONS

ROOT = Path(__file__).resolve().parents[3]
LAYERS = 10
CONFIG: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": LAYERS,
    "vocab_size": 65536,
    "tie_word_embeddings": False,
}
LAYER_WEIGHTS = 2 * 512 * 512 + 2 * 128 * 512 + 3 * 512 * 1024
# Two layers in float32, the largest moments three times, hidden states: as ARCHITECTURE.md has it.
NEEDED = 4 * (2 * LAYER_WEIGHTS + 3 * 1024 * 1024 + 8 * 64 * 512)
# Stacks of threads, llama.cpp's tokenizer, a file mapped while it is verified, what the allocator holds back.
OVERHEAD = 124 << 20


def sharded(folder: Path) -> Path:
    """A random Llama, every layer in a file of its own."""
    config = {**hf_tiny.CONFIG, **CONFIG}
    hf_tiny.build(folder, config, {"model.norm.weight": np.ones(512, np.float16)})
    (folder / "model.safetensors").unlink()
    weights = hf_tiny.tensors(config)
    shards: dict[str, dict[str, np.ndarray]] = {}
    for name, w in weights.items():
        layer = name.split(".")[2 if ".layers." in name else -2]
        shards.setdefault(f"model-{layer}.safetensors", {})[name] = 1 + w if "norm" in name else w
    for name, tensors in shards.items():
        save_file(tensors, folder / name, {"format": "pt"})
    places = {name: shard for shard, tensors in shards.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="the limit counts data on Linux only")
def test_killed_twice_with_little_memory(tmp_path: Path) -> None:
    source, small = sharded(tmp_path / "model"), hf_tiny.build(tmp_path / "small", {"intermediate_size": 128})
    out = tmp_path / "out"
    out.mkdir()
    weights = sum(path.stat().st_size for path in source.glob("*.safetensors"))
    allowed = NEEDED + OVERHEAD
    assert weights > allowed
    runs = {kill: ran(small, source, out / "resumed", allowed, kill) for kill in (1, 2, 0)}
    assert [run.returncode for run in runs.values()] == [-9, -9, 0], runs[0].stderr[-2000:]
    found = json.loads(runs[0].stdout)
    assert found["solved"] == LAYERS - 3, "no layer that was solved is solved again"
    whole = engine.run(CheckpointJob(source=str(source), output=str(out / "whole"), options=OPTIONS))
    assert found["sha256"] == whole.sha256
    files = [{path.name: path.read_bytes() for path in (out / name).iterdir()} for name in ("whole", "resumed")]
    assert files[0] == files[1]
    assert found["peak"] < found["planned"]


def ran(small: Path, source: Path, output: Path, allowed: int, kill_after: int) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(Path(__file__).with_name("limited.py")), str(small), str(source), str(output)]
    return subprocess.run(
        [*program, str(allowed), str(kill_after)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1"},
        preexec_fn=_small_stacks,
        timeout=280,
        check=False,
    )


def _small_stacks() -> None:
    """The limit counts whole stacks of threads, 8 MB each by habit, though they are never used up."""
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
