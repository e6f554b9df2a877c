"""Publishing: the files, the card, what the Hub refuses, and going on with a broken upload."""

from __future__ import annotations

import pytest

from core import engine, errors
from core.errors import Cancelled
from core.jobs import (
    CheckpointJob,
    EvaluateResult,
    MethodOptions,
    ModelEvaluation,
    QuantizeJob,
    QuantizeOptions,
    UploadJob,
)
from core.progress import Progress
from core.store import Store
from tests.core import hf_tiny
from tests.core.hub.conftest import BIG, TOKEN
from tests.core.small_models import small_model
from tests.hub_server import Repo

# The client's own way of sending a file, which its HTTP library would like to be another.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(autouse=True)
def login(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def model(tmp_path):
    """A quantized model whose making is in the history."""
    job = QuantizeJob(
        source=str(small_model(tmp_path / "small.gguf")),
        output=str(tmp_path / "small-Q8_0.gguf"),
        options=QuantizeOptions(target="Q8_0", token_embedding_type="F16"),
    )
    store = Store()
    job_id = store.add(job)
    store.finish(job_id, engine.run(job))
    return tmp_path / "small-Q8_0.gguf"


def upload(source, repo="me/small-GGUF", progress=None, **wanted):
    return engine.run(UploadJob(source=str(source), repo=repo, **wanted), progress)


def test_a_file_becomes_a_repository_with_a_card(hub, model):
    result = upload(model, base="owner/base", license="mit")
    repo = hub.repos["me/small-GGUF"]
    assert repo.private
    assert repo.files["small-Q8_0.gguf"] == model.read_bytes()
    assert (result.created, result.private, result.commit) == (True, True, repo.commit)
    assert {file.name for file in result.files} == {"small-Q8_0.gguf", "README.md"}
    assert result.sent == result.bytes
    card = repo.files["README.md"].decode()
    assert card == result.card
    for words in ("base_model: owner/base", "license: mit", "library_name: gguf", "| Q8_0 |", "| Embedding | F16 |",
                  "dB, relative RMSE", "llama-cli -hf me/small-GGUF:Q8_0", "ollama run hf.co/me/s"):  # fmt: skip
        assert words in card, words
    assert not result.warnings


def test_a_dry_run_shows_card_and_files_and_asks_for_no_token(hub, model, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    result = upload(model, dry_run=True)
    assert "me/small-GGUF" not in hub.repos
    assert {file.name for file in result.files} == {"small-Q8_0.gguf", "README.md"}
    assert (result.commit, result.sent) == ("", 0)
    assert "how it was made" in result.card.lower()
    assert any("--base" in words for words in result.warnings)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert upload(model, dry_run=True).card
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(errors.HubOffline):
        upload(model)


def test_measured_figures_are_on_the_card(hub, model):
    figures = dict.fromkeys(ModelEvaluation.model_fields, 0.5) | {
        "model": str(model), "bytes": 1, "tokens": 9, "categories": (), "disagreements": ()}  # fmt: skip
    answer = EvaluateResult(
        source="s", source_bytes=1, architecture="llama", datasets=("prose",), context=512, chunks=4,
        as_run=True, tokens=1024, seconds=1.0, peak_memory_bytes=1, models=(ModelEvaluation.model_validate(figures),),
    )  # fmt: skip
    from core.jobs import EvaluateJob

    store = Store()
    store.finish(store.add(EvaluateJob(source="s", models=(str(model),))), answer)
    card = upload(model, dry_run=True).card
    assert "| KL divergence, mean | 0.50000 ± 0.50000 nats |" in card
    assert "prose; 1024 tokens scored, windows of 512; activations rounded as llama.cpp" in card


def test_a_second_file_keeps_the_first_on_the_card(hub, model, tmp_path):
    upload(model)
    other = tmp_path / "small-Q4_0.gguf"
    job = QuantizeJob(source=str(tmp_path / "small.gguf"), output=str(other), options=QuantizeOptions(target="Q4_0"))
    store = Store()
    store.finish(store.add(job), engine.run(job))
    result = upload(other)
    assert not result.created
    rows = [line for line in result.card.splitlines() if line.startswith("| `small-")]
    assert len(rows) == 2
    assert all("dB" in row for row in rows)
    assert {name for name in hub.repos["me/small-GGUF"].files if name.endswith("gguf")} == {model.name, other.name}


def test_a_checkpoint_goes_with_all_its_files_and_says_how_to_load_it(hub, tmp_path):
    source = hf_tiny.build(tmp_path / "tiny")
    out = tmp_path / "tiny-int4"
    options = MethodOptions(method="int", export="compressed-tensors", bits=4, group=32)
    engine.run(CheckpointJob(source=str(source), output=str(out), options=options))
    (out / ".secret").write_text("mine")
    (out / "left.part").write_text("x")
    result = upload(out, "our-lab/tiny", private=False, base="a/tiny")
    repo = hub.repos["our-lab/tiny"]
    assert not repo.private
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(repo.files)
    assert {file.name for file in result.skipped} == {".secret", "left.part"}
    card = repo.files["README.md"].decode()
    for words in (
        "base_model: a/tiny",
        "| Method |",
        "vllm serve our-lab/tiny",
        "from_pretrained",
        "library_name: transf",
    ):
        assert words in card, words
    assert card.count("---\n") == 2


def test_a_card_of_the_users_own_stays(hub, tmp_path):
    folder = hf_tiny.build(tmp_path / "tiny")
    (folder / "README.md").write_text("# My words")
    assert upload(folder).card == "# My words"
    assert upload(folder, "me/other", card="# Other", dry_run=True).card == "# Other"


def test_large_files_go_in_parts_and_again_not_at_all(hub, model):
    hub.part_bytes = 10_000
    upload(model)
    received = hub.received
    assert received >= model.stat().st_size
    result = upload(model)
    assert hub.received == received
    assert {file.name: file.sent for file in result.files}[model.name] == 0


def test_a_broken_upload_goes_on_with_what_is_missing(hub, tmp_path, monkeypatch):
    folder = tmp_path / "m"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.gguf").write_bytes(BIG[number:])
    monkeypatch.setattr("core.hub.known.known_of", None)
    (folder / "README.md").write_text("# Mine")
    hub.faults.answers.extend([("cdn", 400, {})])
    with pytest.raises(errors.BitwrightError):
        upload(folder, "me/m", connections=1)
    stored = len(hub.stored)
    upload(folder, "me/m")
    assert len(hub.stored) == 3 >= stored
    assert hub.repos["me/m"].files["2.gguf"] == BIG[2:]


def test_it_can_be_cancelled(hub, model):
    seen = []
    progress = Progress(seen.append, lambda: bool(seen) and seen[-1].stage == "Uploading")
    with pytest.raises(Cancelled):
        upload(model, progress=progress)
    assert "small-Q8_0.gguf" not in hub.repos["me/small-GGUF"].files


def test_what_the_hub_refuses(hub, model, monkeypatch):
    with pytest.raises(errors.HubReadOnly):
        upload(model, "somebody/else")
    hub.readers.add(TOKEN)
    with pytest.raises(errors.HubReadOnly, match="only read"):
        upload(model)
    hub.tokens.clear()
    with pytest.raises(errors.HubTokenRefused):
        upload(model)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(errors.TokenMissing, match="token --save"):
        upload(model)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path / "nothing.gguf", errors.SourceNotFound),
        (lambda path: path, errors.NothingToUpload),
    ],
)
def test_nothing_to_publish(hub, tmp_path, make, error):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error):
        upload(make(tmp_path / "empty"))
    with pytest.raises(errors.NotAHubId):
        upload(tmp_path, "no-id")


def test_links_out_of_the_folder_stay_here(hub, tmp_path):
    folder = hf_tiny.build(tmp_path / "tiny")
    (tmp_path / "secret").write_text("mine")
    (folder / "notes.txt").symlink_to(tmp_path / "secret")
    result = upload(folder, dry_run=True)
    assert {file.name: file.reason for file in result.skipped} == {"notes.txt": "a link out of the folder"}


def test_a_repository_that_exists_stays_as_it_is(hub, model):
    hub.repos["me/small-GGUF"] = Repo({"keep.txt": b"1"})
    result = upload(model)
    assert (result.private, result.created) == (False, False)
    assert "keep.txt" in hub.repos["me/small-GGUF"].files
