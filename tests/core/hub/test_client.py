"""Search, and models' ids as sources."""

from __future__ import annotations

import time

import pytest

from core import engine, errors
from core.hub.cache import local_source
from core.hub.download import download
from core.jobs import DownloadJob, SearchJob
from core.progress import Progress
from tests.core.hub.conftest import MANNERS


def names(**wanted):
    return [model.repo for model in engine.run(SearchJob(**wanted)).models]


def test_a_search_reads_all_pages_it_needs(hub):
    assert names(query="") == ["owner/small", "owner/gated", "owner/quants", "other/small-too"]
    assert len([request for request in hub.log if "/api/models" in request.path]) == 2


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"query": "small"}, ["owner/small", "other/small-too"]),
        ({"query": "small", "author": "other"}, ["other/small-too"]),
        ({"query": "", "format": "gguf"}, ["owner/quants"]),
        ({"query": "", "limit": 1}, ["owner/small"]),
        ({"query": "nothing of that name"}, []),
    ],
)
def test_what_a_search_finds(hub, wanted, found):
    assert names(**wanted) == found


def test_what_a_search_tells(hub):
    model = engine.run(SearchJob(query="owner/small")).models[0]
    assert (model.downloads, model.license, model.formats, model.gated) == (1500, "apache-2.0", ("safetensors",), False)
    assert (model.parameters, model.modified) == (135_000_000, "2026-10-01")
    assert engine.run(SearchJob(query="gated")).models[0].gated


def test_a_busy_search_is_tried_again_and_then_given_up(hub):
    hub.faults.api.append((429, {"Retry-After": "0"}))
    assert names(query="quants") == ["owner/quants"]
    hub.faults.api.extend([(503, {})] * 5)
    with pytest.raises(errors.HubBusy, match="503"):
        names(query="quants")


def test_a_question_that_is_no_longer_wanted_is_not_waited_for(hub):
    hub.faults.silent = True
    began = time.monotonic()
    with pytest.raises(errors.Cancelled):
        engine.run(SearchJob(query="small"), Progress(cancelled=lambda: time.monotonic() - began > 0.2))
    assert time.monotonic() - began < 10  # the time of a request is 20


def test_the_next_page_is_never_elsewhere(hub):
    hub.next_host = hub.other_host
    with pytest.raises(errors.HubAnswerInvalid, match="elsewhere"):
        names(query="", limit=4)


def test_ids_are_paths_in_the_cache(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.NotDownloaded, match="download owner/small"):
        local_source("owner/small")
    result = download(DownloadJob(repo="owner/small"), Progress(), MANNERS)
    assert local_source("owner/small") == result.folder
    assert local_source("owner/small/config.json").endswith("config.json")
    with pytest.raises(errors.NotDownloaded, match="include"):
        local_source("owner/small/missing.gguf")
    (tmp_path / "owner" / "small").mkdir(parents=True)
    assert local_source("owner/small") == "owner/small"


def test_ids_of_gguf_repositories(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("small-Q4_0.gguf", "small-Q8_0.gguf"):
        download(DownloadJob(repo="owner/quants", include=(name,)), Progress(), MANNERS)
        if name == "small-Q4_0.gguf":
            assert local_source("owner/quants").endswith(name)
    with pytest.raises(errors.SeveralModels, match=r"owner/quants/small-Q4_0\.gguf"):
        local_source("owner/quants")
    assert local_source("owner/quants/small-Q8_0.gguf").endswith("small-Q8_0.gguf")


@pytest.mark.parametrize("source", ["model.gguf", "./a/b", "../a/b", "/a/b", "models/x.gguf", "a/b/c", "tests/nothing"])
def test_paths_stay_paths(hub, source):
    assert local_source(source) == source
