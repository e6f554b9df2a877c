"""Summaries from headers, and folders scanned without fear."""

from __future__ import annotations

import os

import pytest

from core.catalog import SAMPLE_NAME
from core.engine import run
from core.formats.gguf_layout import KeyValue
from core.inspection import as_text, candidates, is_first_part
from core.jobs import InspectJob, ScanJob
from tests.core.small_models import metadata, small_model, weights, write


def inspect(path):
    return run(InspectJob(source=str(path)))


def scan(*paths):
    return run(ScanJob(paths=tuple(map(str, paths))))


# ---------------------------------------------------------------- inspect


def test_sample(sample):
    summary = inspect(sample)
    assert (summary.name, summary.is_sample, summary.label) == (SAMPLE_NAME, True, "Llama, 30 layers")
    assert (summary.type, summary.parameters, summary.bytes) == ("Q4_1", 134515008, sample.stat().st_size)
    assert (summary.layers, summary.context_length, summary.heads, summary.kv_heads) == (30, 8192, 9, 3)
    assert (summary.vocabulary, summary.license, summary.has_chat_template) == (49152, "apache-2.0", True)
    assert summary.bits_per_weight == pytest.approx(5.7437, abs=1e-4)
    assert len(summary.tensors) == 272
    assert summary.tensors[0].shape == (49152, 576)
    tokens = next(row for row in summary.metadata if row.key == "tokenizer.ggml.tokens")
    assert tokens.value.startswith("[49152] <|endoftext|>, ")
    assert max(len(row.value) for row in summary.metadata) <= 300


def test_type_is_the_most_used_one_where_the_file_does_not_say(tmp_path):
    summary = inspect(small_model(tmp_path / "a.gguf", "Q5_K"))
    assert (summary.type, summary.name, summary.is_sample) == ("Q5_K", "Small", False)


def test_experts_and_unknown_architectures_are_shown(tmp_path):
    keys = [*metadata(architecture="novel"), KeyValue("novel.expert_count", "UINT32", 8)]
    assert inspect(write(tmp_path / "a.gguf", weights(), keys=keys)).label == "novel, 2 layers, 8 experts"


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5"), ("x", "x"), ([1, 2], "[2] 1, 2"), (list(range(9)), "[9] 0, 1, 2, 3, 4, 5, 6, 7, …")]
)
def test_values_as_text(value, text):
    assert as_text(value) == text
    assert len(as_text("y" * 1000)) == 300


# ---------------------------------------------------------------- scan


def test_scan_finds_models_and_collects_problems(tmp_path):
    small_model(tmp_path / "a.gguf")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    small_model(tmp_path / "deep" / "er" / "b.gguf")
    (tmp_path / "broken.gguf").write_bytes((tmp_path / "a.gguf").read_bytes()[:-500])
    (tmp_path / "text.gguf").write_text("hello")
    (tmp_path / "notes.txt").write_text("not a model")
    found = scan(tmp_path)
    assert [os.path.relpath(model.path, tmp_path) for model in found.models] == ["a.gguf", "deep/er/b.gguf"]
    assert all(model.tensors == () and model.metadata == () for model in found.models)
    assert {os.path.basename(problem.path) for problem in found.problems} == {"broken.gguf", "text.gguf"}
    assert any("its header needs" in problem.problem for problem in found.problems)


def test_scan_takes_files_too_and_each_only_once(tmp_path):
    model = small_model(tmp_path / "a.gguf")
    (tmp_path / "link.gguf").symlink_to(model)
    found = scan(model, tmp_path, tmp_path)
    assert [model.path for model in found.models] == [str(model)]
    missing = scan(tmp_path / "gone.gguf")
    assert missing.models == ()
    assert "does not exist" in missing.problems[0].problem


def test_scan_survives_loops_hidden_folders_and_forbidden_ones(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".hidden").mkdir()
    small_model(tmp_path / ".hidden" / "x.gguf")
    small_model(tmp_path / "a.gguf")
    assert [path.name for path in candidates(tmp_path)] == ["a.gguf"]


def test_scan_does_not_go_down_for_ever(tmp_path):
    deep = tmp_path
    for level in range(12):
        deep = deep / str(level)
    deep.mkdir(parents=True)
    small_model(deep / "far.gguf")
    assert list(candidates(tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("m-00001-of-00003.gguf", True),
        ("m-00002-of-00003.gguf", False),
        ("m.gguf", True),
        ("one-of-them.gguf", True),
        ("a-b-of-c.gguf", True),
    ],
)
def test_only_the_first_part_of_a_split_model_counts(name, first):
    assert is_first_part(name) is first


def test_files_that_hold_no_model_are_left_out(tmp_path):
    keys = [*metadata(), KeyValue("general.type", "STRING", "imatrix")]
    write(tmp_path / "i.gguf", weights(), keys=keys)
    assert scan(tmp_path) == scan()
