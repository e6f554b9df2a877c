"""Datasets of the Hub as texts: which files are fetched, what is read of them, and errors that say what to do."""

from __future__ import annotations

import gzip
import json
import os
import re
import threading

import numpy as np
import pyarrow
import pytest
from huggingface_hub import try_to_load_from_cache
from pyarrow.parquet import write_table

from app.cli_gptq import place_of_text
from core import engine, errors
from core.given_texts import given_texts
from core.hub import datasets
from core.jobs import EvaluateJob, ImatrixJob
from core.progress import Progress
from core.texts import tokens_of, windows_of
from tests.core import hf_tiny
from tests.core.hub.conftest import TOKEN
from tests.hub_server import Repo

CHATS = [
    {"messages": [{"role": "user", "content": "ab" * 40}]},
    {"text": "cd" * 40},
    {"conversations": [{"from": "human", "value": "ef" * 40}]},
]
LINES = "\n".join(map(json.dumps, CHATS)).encode()
FILES = {
    "README.md": b"# A card",
    "dataset_infos.json": b"{}",
    "data/test-0.jsonl": b'{"text": "tested %s"}' % (b"x" * 99),
    "data/train-0.jsonl": LINES,
    "data/train-1.jsonl": LINES,
    "notes.txt": b"neither",
}


class Letters:
    """A tokenizer of which each letter is a token."""

    bos = None
    has_template = False

    def encode(self, text, *, special=False):
        return np.array([ord(letter) for letter in text], np.int64)

    def chat(self, messages, *, answer=False):
        raise AssertionError("it has no template")


@pytest.fixture
def dataset(hub):
    repo = hub.repos["datasets/owner/texts"] = Repo(dict(FILES), lfs=("train-1.jsonl",))
    return repo


def fetched(name="dataset:owner/texts", purpose="calibration", progress=None):
    return given_texts((name,), purpose, progress or Progress())


def asked(hub):
    return [request.path.partition("/resolve/")[2].partition("/")[2] for request in hub.contents("hub")]


def test_rows_of_the_train_split_are_read_as_those_of_a_file(hub, dataset, cache, tmp_path):
    texts = fetched()
    assert asked(hub) == ["data/train-0.jsonl", "data/train-1.jsonl"]
    assert [text.name for text in texts] == [f"dataset:owner/texts/data/train-{n}.jsonl" for n in (0, 1)]
    (tmp_path / "own.jsonl").write_bytes(LINES)
    ids, names = windows_of(texts, Letters(), 16)
    own, _ = windows_of(given_texts((str(tmp_path / "own.jsonl"),) * 2, "calibration", Progress()), Letters(), 16)
    assert np.array_equal(ids, own)
    assert names == tuple(text.name for text in texts)
    kept = try_to_load_from_cache("owner/texts", "data/train-0.jsonl", cache_dir=cache, repo_type="dataset")
    assert kept == str(texts[0].path)


@pytest.mark.parametrize("ending", ["parquet", "jsonl.gz", "jsonl.zst"])
def test_packed_files_and_tables_are_read_as_rows(hub, dataset, tmp_path, ending):
    rows = [{"text": f"row {number} " + "ab" * 20} for number in range(9)]
    lines = "\n".join(map(json.dumps, rows)).encode()
    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    made = {
        "parquet": (tmp_path / "a.parquet").read_bytes(),
        "jsonl.gz": gzip.compress(lines),
        "jsonl.zst": pyarrow.compress(lines, "zstd", asbytes=True),
    }
    dataset.files = {
        "README.md": b"#",
        "stray.json": b"[]",
        f"data/train-0.{ending}": made[ending],
        f"data/test-0.{ending}": made[ending],
    }
    (tmp_path / "own.jsonl").write_bytes(lines)
    own, _ = windows_of(given_texts((str(tmp_path / "own.jsonl"),), "calibration", Progress()), Letters(), 16)
    assert np.array_equal(windows_of(fetched(), Letters(), 16)[0], own)
    assert asked(hub) == [f"data/train-0.{ending}"]


def test_a_folder_of_a_dataset_may_be_named(hub, dataset):
    dataset.files = {"en/train-0.jsonl": LINES, "de/train-0.jsonl": LINES, "de/test-0.jsonl": LINES}
    fetched("dataset:owner/texts/en")
    assert asked(hub) == ["en/train-0.jsonl"]
    with pytest.raises(errors.DatasetUnusable, match="no file fr"):
        fetched("dataset:owner/texts/fr")


def test_of_a_large_file_only_the_beginning_is_read_unless_it_is_named(hub, dataset, monkeypatch):
    monkeypatch.setattr(datasets, "ENOUGH_BYTES", 100)
    dataset.files = {"a.jsonl": b"\n".join([b'{"text": "%s"}' % (b"x" * 30)] * 50)}
    (some,), (whole,) = fetched(), fetched("dataset:owner/texts/a.jsonl")
    assert len(tokens_of(some, Letters())) == 4 * 32
    assert len(tokens_of(whole, Letters())) == 50 * 32


def test_only_as_much_as_is_needed_is_fetched(hub, dataset, monkeypatch):
    monkeypatch.setattr(datasets, "ENOUGH_BYTES", len(LINES))
    fetched()
    assert asked(hub) == ["data/train-0.jsonl"]
    fetched()
    assert asked(hub) == ["data/train-0.jsonl"]  # the second time it is here


@pytest.mark.parametrize(
    ("name", "purpose", "files"),
    [
        ("dataset:owner/texts", "evaluation", ["data/test-0.jsonl"]),
        ("dataset:owner/texts/notes.txt", "calibration", ["notes.txt"]),
        ("dataset:owner/texts/README.md", "calibration", ["README.md"]),
    ],
)
def test_which_files_are_taken(hub, dataset, name, purpose, files):
    fetched(name, purpose)
    assert asked(hub) == files


def test_a_json_file_may_be_one_array_of_rows(hub, dataset):
    dataset.files = {"a.json": json.dumps(CHATS, indent=1).encode(), "b.jsonl": LINES}
    (array,), (lines,) = fetched("dataset:owner/texts/a.json"), fetched("dataset:owner/texts/b.jsonl")
    assert np.array_equal(windows_of([array], Letters(), 16)[0], windows_of([lines], Letters(), 16)[0])


def test_without_a_connection_what_is_here_is_taken(hub, dataset, monkeypatch):
    before = fetched()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetched() == before
    with pytest.raises(errors.DatasetUnusable, match="no file data/test"):
        fetched("dataset:owner/texts/data/test-0.jsonl")
    with pytest.raises(errors.HubOffline):
        fetched("dataset:owner/other")


def test_gated_ones_need_a_token_with_access(hub, dataset, monkeypatch):
    dataset.access = {TOKEN}
    with pytest.raises(errors.HubGated) as caught:
        fetched()
    assert f"{hub.endpoint}/datasets/owner/texts," in caught.value.remedy
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetched()
    assert all(request.authorization == "" for request in hub.log if request.side == "cdn")


@pytest.mark.parametrize(
    ("name", "files", "error", "words"),
    [
        ("dataset:owner/none", FILES, errors.DatasetNotFound, "owner/none"),
        ("dataset:owner", FILES, errors.DatasetUnusable, "OWNER/NAME"),
        ("dataset:owner/texts/../x.txt", FILES, errors.DatasetUnusable, "OWNER/NAME"),
        (
            "dataset:owner/texts",
            {"a.arrow": b"ARROW1", "README.md": b"#"},
            errors.DatasetUnusable,
            r"\.arrow.*to_json",
        ),
        ("dataset:owner/texts/a.arrow", {"a.arrow": b"ARROW1"}, errors.DatasetUnusable, r"\.arrow.*to_json"),
        ("dataset:owner/texts", {"a.parquet": b"PAR1"}, errors.DatasetUnusable, "cannot be read as Parquet"),
        ("dataset:owner/texts", {"README.md": b"#"}, errors.DatasetUnusable, r"\.jsonl"),
        (
            "dataset:owner/texts",
            {"a.jsonl": b'{"label": 1}'},
            errors.DatasetUnusable,
            r"line 1.*text.*Choose a dataset",
        ),
        ("dataset:owner/texts", {"a.json": b'[{"label": 1}]'}, errors.DatasetUnusable, "row 1.*text"),
    ],
)
def test_errors_say_what_to_do(hub, dataset, name, files, error, words):
    dataset.files = files
    with pytest.raises(error) as caught:
        windows_of(fetched(name), Letters(), 16)
    wrong = caught.value
    assert re.search(words, f"{wrong} {wrong.why} {wrong.remedy}")


def test_files_too_large_to_be_read_whole_are_asked_for_by_name(hub, dataset, monkeypatch):
    monkeypatch.setattr(datasets, "LARGEST_BYTES", 8)
    dataset.files = {"a.txt": b"0123456789"}
    with pytest.raises(errors.DatasetUnusable, match="GiB"):
        fetched()
    assert fetched("dataset:owner/texts/a.txt")


def test_it_can_be_cancelled(hub, dataset):
    stop = threading.Event()
    stop.set()
    with pytest.raises(errors.Cancelled):
        fetched(progress=Progress(cancelled=stop.is_set))
    assert not hub.contents()


def test_jobs_read_them_before_the_model(hub, dataset, tmp_path):
    model, name = str(hf_tiny.build(tmp_path / "tiny")), "dataset:owner/texts"
    stages = []
    heard = Progress(lambda snapshot: stages.append(snapshot.stage))
    job = ImatrixJob(source=model, output=str(tmp_path / "i.gguf"), text=(name,), context=16, chunks=2)
    assert engine.run(job, heard).datasets == tuple(f"{name}/data/train-{n}.jsonl" for n in (0, 1))
    assert stages[0] == "Asking the Hub"
    judged = engine.run(EvaluateJob(source=model, models=(model,), text=(name,), context=16, chunks=2), Progress())
    assert judged.datasets == (f"{name}/data/test-0.jsonl",)
    with pytest.raises(errors.DatasetNotFound):
        engine.run(job.model_copy(update={"text": ("dataset:owner/none",)}), Progress())


def test_a_dataset_is_no_path_in_a_job():
    assert place_of_text("dataset:owner/texts") == "dataset:owner/texts"
    assert place_of_text("a.txt") == os.path.abspath("a.txt")


def test_damage_on_the_way_is_no_text(hub, dataset):
    hub.faults.damaged = 1
    assert fetched()[0].path.read_bytes() == LINES
