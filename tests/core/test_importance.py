"""Importance matrices computed here against llama-imatrix's, their coverage, their bounds, and their failures."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from core import engine, importance
from core.errors import Cancelled, CannotRun, DiskFull, NonFiniteActivations, ReadFailed, SourceNotFound, TextTooShort
from core.imatrix import FEW_TOKENS, read_imatrix
from core.jobs import ImatrixJob, PlanJob, QuantizeOptions
from core.network.states import HiddenStates
from core.progress import Progress
from core.texts import files_as_texts, own_texts, tokens_of, windows, windows_of
from tests.core import hf_families, hf_tiny
from tests.golden.make_imatrix import FILE, RUNS, SAMPLE_LAYERS, TEXT, model_of


def compute(model: Path, out: Path, **options) -> tuple:
    job = ImatrixJob(
        source=str(model), output=str(out), **{"text": (str(TEXT),), "context": 64, "chunks": 4, **options}
    )
    result = engine.run(job)
    return result, read_imatrix(Path(result.output))


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A mixture of experts, as a folder."""
    return hf_families.build("qwen3moe", tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.mark.parametrize("name", RUNS)
def test_it_agrees_with_llama_imatrix(name, golden, tmp_path):
    context, chunks = RUNS[name]
    result, ours = compute(model_of(name, tmp_path), tmp_path / "i.gguf", context=context, chunks=chunks)
    theirs = {key.split("|")[1] for key in golden if key.startswith(f"{name}|")}
    kept = {t for t in ours.entries if name != "sample" or int(t.split(".")[1]) in SAMPLE_LAYERS}
    assert kept == theirs
    assert (ours.chunks, ours.chunk_size, ours.datasets) == (chunks, context, (str(TEXT),))
    assert result.tokens == context * chunks
    for tensor in theirs:
        sums, counts = golden[f"{name}|{tensor}|sums"], golden[f"{name}|{tensor}|counts"]
        entry = ours.entries[tensor]
        assert np.array_equal(entry.counts, counts), tensor
        assert np.corrcoef(entry.sums.ravel(), sums.astype(np.float64).ravel())[0, 1] > 0.999, tensor


def test_experts_are_counted_apart_and_said(tiny, tmp_path):
    result, ours = compute(tiny, tmp_path)
    assert Path(result.output) == tmp_path / "tiny.imatrix.gguf"
    by_name = {tensor.name: tensor for tensor in result.tensors}
    down, query = by_name["blk.0.ffn_down_exps.weight"], by_name["blk.0.attn_q.weight"]
    counts = ours.entries[down.name].counts
    assert (query.tokens, query.fewest, query.unused, query.rare) == (256, 256, 0, 0)
    assert down.shape == (4, 32)
    assert down.tokens == counts.sum() == 2 * 256  # every token asks two of the experts
    assert (down.fewest, down.most) == (counts.min(), counts.max())
    assert down.rare == (counts < FEW_TOKENS).sum() > 0
    assert f"{FEW_TOKENS} tokens" in result.warnings[0]


def test_the_output_layer_is_there_when_asked_for(tiny, tmp_path):
    assert "output.weight" not in compute(tiny, tmp_path / "a.gguf")[1].entries
    entry = compute(tiny, tmp_path / "b.gguf", process_output=True)[1].entries["output.weight"]
    assert (entry.counts[0, 0], entry.sums.shape) == (256, (1, 64))
    tied = hf_families.build("llama-tied", tmp_path / "tied")
    assert "token_embd.weight" in compute(tied, tmp_path / "c.gguf", process_output=True)[1].entries


def test_hidden_states_on_disk_give_the_same(tiny, tmp_path, monkeypatch):
    expected = compute(tiny, tmp_path / "a.gguf")[1].entries
    monkeypatch.setattr("core.network.states.SHARE", 0.0)
    found = compute(tiny, tmp_path / "b.gguf")[1].entries
    assert all(np.array_equal(found[name].sums, entry.sums) for name, entry in expected.items())
    assert {path.name for path in tmp_path.iterdir()} == {"a.gguf", "b.gguf"}


def test_hidden_states_need_room(tmp_path):
    with pytest.raises(DiskFull):
        HiddenStates((1 << 20, 1 << 12, 1 << 12), tmp_path, limit_bytes=0)
    with HiddenStates((2, 3, 4), tmp_path, limit_bytes=0) as states:
        states[1:2] = torch.ones(1, 3, 4)
        assert states.on_disk
        assert states[0:2].sum() == 12


def test_a_made_matrix_serves_a_type_that_needs_one(tmp_path):
    sizes = {"hidden_size": 256, "intermediate_size": 256}
    model, out = hf_tiny.build(tmp_path / "tiny", config=sizes), tmp_path / "i.gguf"
    compute(model, out, context=32, chunks=2)
    options = QuantizeOptions(target="IQ2_S", imatrix=str(out))
    plan = engine.run(PlanJob(source=str(model), options=options))
    assert {row.target_type for row in plan.tensors if row.weighted} >= {"IQ2_XS", "IQ3_S"}
    assert all(row.weighted for row in plan.tensors if row.target_type == "IQ2_XS")


# ---------------------------------------------------------------- texts


class Letters:
    """A tokenizer whose tokens are letters."""

    has_template = False

    def __init__(self, bos: int | None = None) -> None:
        self.bos = bos

    def encode(self, text, *, special=False):
        return np.frombuffer(text.encode(), np.uint8).astype(np.int64)

    def chat(self, messages, *, answer=False):
        raise AssertionError("it has no template")


def test_windows_are_those_of_llama_imatrix():
    tokens = np.arange(10, 20)
    assert windows(tokens, 4, None).tolist() == [[10, 11, 12, 13], [14, 15, 16, 17]]
    assert windows(tokens, 4, 1).tolist() == [[1, 11, 12, 13], [1, 15, 16, 17]]


def test_a_text_begins_with_the_beginning_token(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefgh")
    found, names = windows_of(files_as_texts((str(tmp_path / "a.txt"),)), Letters(1), 4)
    assert found.tolist() == [[1, 97, 98, 99], [1, 101, 102, 103]]
    assert names == (str(tmp_path / "a.txt"),)


@pytest.mark.parametrize("purpose", ["calibration", "evaluation"])
def test_the_own_texts_are_taken_in_turns(purpose):
    texts = own_texts(purpose)
    assert {text.name for text in texts} == {"prose", "code", "chat", "languages"}
    found, names = windows_of((), Letters(), 64, 4, purpose)
    assert [row.tolist() for row in found] == [tokens_of(text, Letters())[:64].tolist() for text in texts]
    assert names == tuple(f"{purpose}/{text.path.name}" for text in texts)
    for text in texts:
        content = text.path.read_text(encoding="utf-8")
        assert {letter for letter in content if unicodedata.category(letter) == "Cc"} <= {"\n", "\t"}
        if text.is_chat:
            for line in content.splitlines():
                roles = [turn["role"] for turn in json.loads(line)]
                assert roles[-1] == "assistant"
                assert set(roles) <= {"system", "user", "assistant"}


def test_calibration_and_evaluation_have_no_line_in_common():
    def lines(purpose):
        return {
            line
            for t in own_texts(purpose)
            for line in t.path.read_text(encoding="utf-8").splitlines()
            if len(line) > 60
        }

    assert not lines("calibration") & lines("evaluation")


def test_no_paragraph_comes_twice():
    for purpose in ("calibration", "evaluation"):
        for text in own_texts(purpose):
            long = [line for line in text.path.read_text(encoding="utf-8").splitlines() if len(line) > 100]
            assert len(long) == len(set(long)), text.path


def test_it_works_with_nothing_else_at_hand(tiny, tmp_path):
    result, ours = compute(tiny, tmp_path / "a.gguf", text=())
    assert ours.datasets == (
        "calibration/chat.jsonl",
        "calibration/code.txt",
        "calibration/languages.txt",
        "calibration/prose.txt",
    )
    assert result.chunks == 4


# ---------------------------------------------------------------- failures


def test_what_cannot_be_done_is_said(tiny, tmp_path):
    (tmp_path / "short.txt").write_text("Too short.")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for text, leaf in (("short.txt", TextTooShort), ("none.txt", SourceNotFound), ("bytes.txt", ReadFailed)):
        with pytest.raises(leaf, match=text):
            compute(tiny, tmp_path / "i.gguf", text=(str(tmp_path / text),))
    assert not (tmp_path / "i.gguf").exists()


def test_a_window_longer_than_the_models_context_is_refused(tiny, tmp_path):
    with pytest.raises(CannotRun, match="128"):
        compute(tiny, tmp_path / "i.gguf", context=256)


def test_damaged_weights_are_noticed(tmp_path, monkeypatch):
    folder = hf_families.build("llama-tied", tmp_path / "tiny")
    monkeypatch.setattr(
        "core.network.network.Network.embed", lambda network, ids: torch.full((*ids.shape, 64), torch.nan)
    )
    with pytest.raises(NonFiniteActivations):
        compute(folder, tmp_path / "i.gguf")
    assert not (tmp_path / "i.gguf").exists()


def test_it_can_be_stopped_at_any_moment(tiny, tmp_path):
    job = ImatrixJob(source=str(tiny), output=str(tmp_path / "i.gguf"), text=(str(TEXT),), context=64, chunks=2)
    seen = []
    importance.imatrix(job, Progress(seen.append, lambda: bool(seen.append(None))))
    calls = seen.count(None)
    assert calls > 8
    for stop in range(0, calls, 3):
        left = iter(range(stop))
        with pytest.raises(Cancelled):
            importance.imatrix(
                job.model_copy(update={"output": str(tmp_path / "x.gguf")}),
                Progress(cancelled=lambda left=left: next(left, None) is None),
            )
    assert [path.name for path in tmp_path.iterdir()] == ["i.gguf"]
