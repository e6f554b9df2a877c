"""Models on the Hub judged by headers alone: the same facts as of the downloaded files, from a small part of them."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from app import cli
from core import engine, errors
from core.estimate.values import ModelFacts
from core.estimating import estimate, read_facts
from core.hub import client, headers
from core.hub.headers import facts_of_listing, gguf_models, remote_facts
from core.jobs import EstimateJob, QuantizeJob, QuantizeOptions
from core.progress import Progress
from tests.core import hf_tiny
from tests.core.small_models import small_model
from tests.hub_server import HubServer, Repo


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(headers, "FIRST_BYTES", 300)
    monkeypatch.setattr(headers, "FIRST_BYTES_SAFETENSORS", 200)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folder_of(path: Path) -> Path:
    """A checkpoint whose weights take more room than their headers."""
    return hf_tiny.build(path, {"vocab_size": 4000})


def put(hub: HubServer, folder: Path, name: str = "owner/tiny") -> Repo:
    hub.repos[name] = Repo(files_of(folder), tags=("safetensors",))
    return hub.repos[name]


def without_source(facts: ModelFacts) -> ModelFacts:
    return facts.model_copy(update={"source": "", "name": ""})


def sharded(folder: Path) -> Path:
    tensors = hf_tiny.tensors(hf_tiny.CONFIG)
    (folder / "model.safetensors").unlink()
    parts = [dict(list(tensors.items())[start::3]) for start in range(3)]
    names = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
    for name, part in zip(names, parts, strict=True):
        save_file({key: np.ascontiguousarray(value) for key, value in part.items()}, folder / name)
    index = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


@pytest.mark.parametrize("make", [folder_of, lambda path: sharded(hf_tiny.build(path))], ids=["one", "sharded"])
def test_a_checkpoint_is_known_without_its_weights(hub, tmp_path, make):
    folder = make(tmp_path / "tiny")
    repo = put(hub, folder)
    facts = remote_facts("hub:owner/tiny", Progress())
    assert without_source(facts) == without_source(read_facts(str(folder), Progress()))
    assert (facts.source, facts.name) == ("hub:owner/tiny", "tiny")
    asked = {request.path.rpartition("/")[2].partition("?")[0] for request in hub.contents()}
    assert asked == {name for name in repo.files if name.endswith((".safetensors", ".index.json", "config.json"))} - {
        "tokenizer_config.json", "generation_config.json"}  # fmt: skip


def test_of_a_large_checkpoint_little_is_fetched(hub, tmp_path):
    repo = put(hub, folder_of(tmp_path / "tiny"))
    remote_facts("hub:owner/tiny", Progress())
    assert hub.sent < 0.05 * len(repo.files["model.safetensors"])


def test_a_gguf_file_is_known_and_its_weights_stay_there(hub, sample):
    hub.repos["owner/quants"] = Repo({"a-Q4_1.gguf": sample.read_bytes(), "README.md": b"# A"}, tags=("gguf",))
    facts = remote_facts("hub:owner/quants", Progress())
    assert without_source(facts) == without_source(read_facts(str(sample), Progress()))
    assert facts.source == "hub:owner/quants/a-Q4_1.gguf"
    assert hub.sent < 0.1 * sample.stat().st_size


def test_of_several_gguf_files_one_is_chosen_from_one_listing(hub, tmp_path):
    small, large = small_model(tmp_path / "a.gguf"), small_model(tmp_path / "b.gguf", layers=4)
    hub.repos["owner/quants"] = Repo({"q/a.gguf": small.read_bytes(), "q/b.gguf": large.read_bytes()})
    with pytest.raises(errors.SeveralModels, match=r"owner/quants/q/a\.gguf"):
        remote_facts("hub:owner/quants", Progress())
    with pytest.raises(errors.HubNotFound, match=r"c\.gguf"):
        remote_facts("hub:owner/quants/c.gguf", Progress())
    listed = client.listing("owner/quants", "main", Progress())
    assert list(gguf_models(listed)) == ["q/a.gguf", "q/b.gguf"]
    hub.log.clear()
    layers = [len(facts_of_listing(listed, name, Progress()).layers) for name in gguf_models(listed)]
    assert layers == [2, 4]
    assert not [request for request in hub.log if "/api/" in request.path]


def test_the_parts_of_a_split_model_belong_together(hub, tmp_path):
    whole = small_model(tmp_path / "small.gguf", width=512)
    options = QuantizeOptions(target="F16", split_max_bytes=200_000)
    engine.run(QuantizeJob(source=str(whole), output=str(tmp_path / "s.gguf"), options=options))
    parts = {path.name: path.read_bytes() for path in tmp_path.glob("s-0*.gguf")}
    assert len(parts) > 1
    hub.repos["owner/split"] = Repo(parts)
    first = min(parts)
    facts = remote_facts("hub:owner/split", Progress())
    assert without_source(facts) == without_source(read_facts(str(tmp_path / first), Progress()))


FAULTS = {
    "cut": lambda faults: faults.cuts.extend([120, 0, 50]),
    "busy": lambda faults: faults.answers.extend([("cdn", 503, {}), ("cdn", 429, {"Retry-After": "0"})]),
    "whole files only": lambda faults: setattr(faults, "without_ranges", True),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faults_that_pass(hub, tmp_path, fault):
    folder = folder_of(tmp_path / "tiny")
    put(hub, folder).lfs = (".safetensors", ".json")
    fault(hub.faults)
    found = remote_facts("hub:owner/tiny", Progress())
    assert without_source(found) == without_source(read_facts(str(folder), Progress()))


def test_faults_that_do_not_pass(hub, tmp_path):
    repo = put(hub, folder_of(tmp_path / "tiny"))
    hub.faults.answers.extend([("cdn", 500, {})] * 40)
    with pytest.raises(errors.HubUnreadable, match="500"):
        remote_facts("hub:owner/tiny", Progress())
    hub.faults.answers.clear()
    hub.faults.etag = "0" * 64
    with pytest.raises(errors.ChangedOnHub):
        remote_facts("hub:owner/tiny", Progress())
    hub.faults.etag = ""
    repo.access = set()
    with pytest.raises(errors.HubGated):
        remote_facts("hub:owner/tiny", Progress())
    with pytest.raises(errors.HubNotFound):
        remote_facts("hub:owner/none", Progress())
    with pytest.raises(errors.NotAHubId):
        remote_facts("hub:nothing", Progress())


BROKEN = {
    "a header of nonsense": ("model.safetensors", b"\xff" * 3000, errors.InvalidHeader),
    "a header longer than its file": ("model.safetensors", b"\xff\xff" + b"\0" * 600, errors.TruncatedFile),
    "a config that is a list": ("config.json", b"[]", errors.NotAModel),
    "an index that leads out": ("model.safetensors.index.json", b'{"weight_map": {"a": "../b"}}', errors.InvalidHeader),
}


@pytest.mark.parametrize(("name", "data", "error"), BROKEN.values(), ids=BROKEN)
def test_damaged_files(hub, tmp_path, name, data, error):
    put(hub, folder_of(tmp_path / "tiny")).files[name] = data
    with pytest.raises(error):
        remote_facts("hub:owner/tiny", Progress())


def test_pickled_weights_are_not_read(hub):
    hub.repos["owner/old"] = Repo({"config.json": b"{}", "pytorch_model.bin": b"1234"})
    with pytest.raises(errors.NotAModel, match="no weights"):
        remote_facts("hub:owner/old", Progress())


@pytest.mark.parametrize("form", ["folder", "gguf"])
def test_what_a_quantization_would_make_of_it(hub, tmp_path, form, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if form == "folder":
        here = folder_of(tmp_path / "tiny")
        put(hub, here)
    else:
        here = small_model(tmp_path / "tiny.gguf")
        hub.repos["owner/tiny"] = Repo({"tiny.gguf": here.read_bytes()})
    options = QuantizeOptions(target="Q8_0", allow_requantize=True)
    local = estimate(EstimateJob(source=str(here), options=options), Progress())
    remote = estimate(EstimateJob(source="hub:owner/tiny", options=options), Progress())
    assert without_source(remote.now.facts) == without_source(local.now.facts)
    assert remote.after is not None
    assert local.after is not None
    assert without_source(remote.after.facts) == without_source(local.after.facts)
    assert (remote.source, remote.now.facts.source) == ("hub:owner/tiny", "hub:owner/tiny")
    assert not list(Path(tempfile.gettempdir()).glob("bitwright-headers-*"))


def test_estimate_by_id_on_the_command_line(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put(hub, folder_of(tmp_path / "made"))
    assert cli.main(["estimate", "owner/tiny", "--to", "Q8_0", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["now"]["facts"]["architecture"] == "llama"
    assert 0 < answer["after"]["memory"]["devices"][0]["weights"] < answer["now"]["memory"]["devices"][0]["weights"]
    assert not os.path.exists(os.environ["HF_HUB_CACHE"])
    assert cli.main(["quantize", "owner/tiny", "--to", "Q8_0", "--out", "o.gguf"]) == 2
    assert "Download it first" in capsys.readouterr().err


def test_inspected_and_planned_by_id_before_it_is_downloaded(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    here = folder_of(tmp_path / "tiny")
    repo = put(hub, here)

    def answers(*words):
        for source in ("owner/tiny", str(here)):
            assert cli.main([*words[:1], source, *words[1:], "--json"]) == 0
            yield json.loads(capsys.readouterr().out)

    remote, local = answers("inspect")
    assert (remote.pop("path"), local.pop("path")) == ("hub:owner/tiny", str(here))
    assert remote == local
    remote, local = answers("plan", "--to", "Q4_K_M")
    assert remote["source"] == "hub:owner/tiny"
    assert remote["preflight"]["bytes"] == local["bytes"]
    assert {check["step"] for check in remote["preflight"]["checks"]} >= {"files", "disk", "licence"}
    for key in ("tensors", "bytes", "fit", "memory_bytes"):
        assert remote[key] == local[key], key
    assert hub.sent < len(repo.files["model.safetensors"]) / 4
    assert not os.path.exists(os.environ["HF_HUB_CACHE"])


def test_headers_are_read_once_until_the_files_are_others(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def times_read() -> int:
        hub.log.clear()
        assert cli.main(["plan", "owner/tiny", "--to", "Q8_0,Q4_0", "--json"]) == 0
        capsys.readouterr()
        return sum(request.path.endswith("/model.safetensors") for request in hub.contents("hub"))

    put(hub, folder_of(tmp_path / "tiny"))
    assert (times_read(), times_read()) == (1, 0)
    put(hub, hf_tiny.build(tmp_path / "other", {"vocab_size": 4032}))
    assert times_read() == 1
