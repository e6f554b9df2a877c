"""GPTQ into GGUF files: what it gains, that llama.cpp loads them, mixtures, mixes, and interrupted jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import engine
from core.checkpoints.solutions import Solutions
from core.errors import Cancelled, CannotRun, IllegalMethod
from core.jobs import (
    ChatJob,
    GptqOptions,
    Plan,
    PlanJob,
    QuantizeJob,
    QuantizeOptions,
    QuantizeResult,
    Sampling,
)
from core.leftovers import layers_folder
from core.methods import gptq
from core.network.network import open_network
from core.progress import Progress
from core.sources import open_source
from core.texts import windows_of
from tests.core.checkpoints.loading import build, relative_error

GPTQ = GptqOptions(samples=24, length=32)
Q4 = QuantizeOptions(target="Q4_0", gptq=GPTQ)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "tiny", hidden_size=256, num_attention_heads=8)


def made(source: Path, output: Path, options: QuantizeOptions, progress: Any = None, **job: Any) -> QuantizeResult:
    result = engine.run(QuantizeJob(source=str(source), output=str(output), options=options, **job), progress)
    assert isinstance(result, QuantizeResult)
    return result


def hidden_states(path: Path, ids: np.ndarray) -> np.ndarray:
    """What the last layer gives."""
    with open_source(str(path)) as model, open_network(model) as network, torch.no_grad():
        hidden = network.embed(ids)
        for number in range(network.layers):
            with network.layer(number) as layer:
                hidden = layer(hidden)
    return hidden.numpy()


@pytest.fixture(scope="module")
def unseen(source: Path) -> np.ndarray:
    with open_source(str(source)) as model, open_network(model) as network:
        return windows_of((), network.tokenizer, 32, 12, "evaluation")[0]


@pytest.mark.parametrize("target", ["Q4_0", "Q3_K_M", "Q4_K_M"])
def test_gains_over_the_search(target: str, source: Path, unseen: np.ndarray, tmp_path: Path) -> None:
    result = made(source, tmp_path / "solved.gguf", QuantizeOptions(target=target, gptq=GPTQ))
    plain = made(source, tmp_path / "plain.gguf", QuantizeOptions(target=target))
    assert result.bytes == plain.bytes
    assert [row.type for row in result.tensors] == [row.type for row in plain.tensors]
    assert [row.layer for row in result.layers] == [0] * 7 + [1] * 7
    original = hidden_states(source, unseen)
    errors = [
        relative_error(hidden_states(tmp_path / name, unseen), original) for name in ("solved.gguf", "plain.gguf")
    ]
    assert errors[0] < 0.95 * errors[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.gguf", "solved.gguf"]


def test_llama_cpp_loads_and_answers(source: Path, tmp_path: Path) -> None:
    made(source, tmp_path / "model.gguf", Q4)
    job = ChatJob(
        model=str(tmp_path / "model.gguf"),
        prompt="one two",
        sampling=Sampling(max_tokens=4),
        context=64,
    )
    assert engine.run(job).turns[0].tokens == 4


class Killed(BaseException):
    """Stands for a process that ends at once."""


def test_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, source: Path, tmp_path: Path) -> None:
    whole = made(source, tmp_path / "whole.gguf", Q4)
    keep, output = Solutions.keep, tmp_path / "out.gguf"

    def once(self: Solutions, layer: int, found: Any) -> None:
        keep(self, layer, found)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Solutions, "keep", once)
        with pytest.raises(Killed):
            made(source, output, Q4)
    assert layers_folder(output).is_dir()
    solved: list[int] = []
    solve = gptq.quantize
    monkeypatch.setattr(gptq, "quantize", lambda *arguments: solved.append(1) or solve(*arguments))
    again = made(source, output, Q4)
    assert len(solved) == 7, "one layer of two"
    assert again.sha256 == whole.sha256
    assert again.layers == whole.layers
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf", "whole.gguf"]


def test_cancelled(source: Path, tmp_path: Path) -> None:
    left = [40]

    def cancelled() -> bool:
        left[0] -= 1
        return left[0] < 0

    with pytest.raises(Cancelled):
        made(source, tmp_path / "out.gguf", Q4, Progress(cancelled=cancelled))
    assert list(tmp_path.iterdir()) == []


def test_the_plan(source: Path) -> None:
    plans = [
        engine.run(PlanJob(source=str(source), options=QuantizeOptions(target="Q4_0", gptq=how)))
        for how in (None, GPTQ)
    ]
    assert all(isinstance(plan, Plan) for plan in plans)
    assert plans[1].memory_bytes > plans[0].memory_bytes + (400 << 20)
    solved = [row.name for row in plans[1].tensors if "GPTQ" in row.reason]
    assert len(solved) == 14
    unset, long = (QuantizeOptions(target="Q4_0", gptq=GptqOptions(length=length)) for length in (None, 129))
    assert "Windows of 128 tokens" in engine.run(PlanJob(source=str(source), options=unset)).warnings[0]
    with pytest.raises(CannotRun, match="Use --length 128"):
        engine.run(PlanJob(source=str(source), options=long))
    with pytest.raises(IllegalMethod, match="nothing to do"):
        engine.run(PlanJob(source=str(source), options=QuantizeOptions(target="BF16", gptq=GPTQ)))
