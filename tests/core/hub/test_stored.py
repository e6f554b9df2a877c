"""What is in the cache, and taking models off it: shared contents stay, and nothing is lost on the way to the trash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from core import engine, errors
from core.errors import Cancelled
from core.hub.download import download
from core.hub.stored import UNFINISHED
from core.jobs import DownloadJob, HubCacheJob, QuantizeJob, QuantizeOptions, TrashJob
from core.progress import Progress
from core.store import Store
from tests.core.hub.conftest import BIG, MANNERS, small_model

NEEDED = {"config.json", "tokenizer.json", "README.md", "empty.txt", "model.safetensors"}


@pytest.fixture
def bin_folder(tmp_path, monkeypatch) -> Path:
    """Where the trash puts files; it asks for the place once, when it is imported."""
    from send2trash import plat_other

    place = tmp_path / "Trash"
    monkeypatch.setattr(plat_other, "HOMETRASH", str(place))
    monkeypatch.setattr(plat_other, "HOMETRASH_B", os.fsencode(place))
    monkeypatch.setattr("send2trash.send2trash", plat_other.send2trash)
    return place / "files"


def get(**wanted):
    return download(DownloadJob(**({"repo": "owner/small"} | wanted)), Progress(), MANNERS)


def cached():
    return engine.run(HubCacheJob())


def trash(*paths, **wanted):
    return engine.run(TrashJob(paths=tuple(map(str, paths)), **wanted))


def two_revisions(hub):
    """The second has other settings and the same weights."""
    first = get()
    hub.repos["owner/small"].files["extra.json"] = b"{}"
    return first, get()


def test_an_empty_computer(hub):
    assert cached().repos == ()


def test_revisions_and_what_they_share(hub):
    first, second = two_revisions(hub)
    (repo,) = cached().repos
    assert repo.repo == "owner/small"
    assert {one.folder: one.refs for one in repo.revisions} == {first.folder: (), second.folder: ("main",)}
    own = {one.folder: one.own_bytes for one in repo.revisions}
    assert own == {first.folder: 0, second.folder: 2}
    assert repo.bytes == sum(len(small_model()[name]) for name in NEEDED) + 2
    assert cached().bytes == repo.bytes


@pytest.mark.parametrize("place", ["cache", "folder"])
def test_unfinished_downloads_are_seen_and_can_be_thrown_away(hub, tmp_path, place, bin_folder):
    output = str(tmp_path / "models" / "small") if place == "folder" else ""
    hub.faults.rate = 400_000
    seen = []
    with pytest.raises(Cancelled):
        download(
            DownloadJob(repo="owner/small", output=output),
            Progress(seen.append, lambda: bool(seen) and seen[-1].done > 300_000),
            MANNERS,
        )
    hub.faults.rate = 0
    answer = engine.run(HubCacheJob(folders=(str(tmp_path / "models"),)))
    (partial,) = answer.loose if output else answer.repos[0].partial
    assert (partial.repo, partial.name, partial.total) == ("owner/small", "model.safetensors", len(BIG))
    assert 0 < partial.done < len(BIG)
    assert partial.ours
    assert not partial.running
    assert (UNFINISHED.as_posix() in partial.path) == bool(output)
    trash(partial.path)
    answer = engine.run(HubCacheJob(folders=(str(tmp_path / "models"),)))
    assert [*answer.loose, *(one for repo in answer.repos for one in repo.partial)] == []
    assert not bin_folder.exists()


def test_a_download_that_runs_is_not_pulled_away(hub, bin_folder):
    hub.faults.rate = 300_000
    refused = []

    def try_it(snapshot):
        if snapshot.stage == "Downloading" and snapshot.done > 150_000 and not refused:
            (repo,) = cached().repos
            assert [one.running for one in repo.partial] == [True]
            for path in (repo.folder, repo.partial[0].path):
                with pytest.raises(errors.InUse):
                    trash(path)
                refused.append(path)

    download(DownloadJob(repo="owner/small"), Progress(try_it), MANNERS)
    assert len(refused) == 2


def test_of_a_revision_only_what_no_other_needs_goes(hub, bin_folder):
    first, second = two_revisions(hub)
    told = trash(second.folder, dry_run=True)
    assert told.bytes == 2
    assert told.items[0].kept == sum(len(small_model()[name]) for name in NEEDED)
    assert [(use.kind, use.name) for use in told.items[0].uses] == [("revision", Path(first.folder).name[:12])]
    assert os.path.isdir(second.folder)
    trash(second.folder)
    assert not os.path.exists(second.folder)
    (repo,) = cached().repos
    assert [one.folder for one in repo.revisions] == [first.folder]
    assert not repo.revisions[0].broken
    assert [path.name for path in bin_folder.rglob("*") if path.is_file()] == ["extra.json"]
    trash(first.folder)
    assert cached().repos == ()
    assert (bin_folder / "models--owner--small").is_dir()


def test_a_file_of_a_revision_goes_alone(hub, bin_folder):
    names = ("small-Q4_0.gguf", "small-Q8_0.gguf")
    for name in names:
        folder = Path(get(repo="owner/quants", include=(name,)).folder)
    trash(folder / names[0])
    assert [path.name for path in folder.iterdir()] == [names[1]]
    assert [path.name for path in bin_folder.rglob("*.gguf")] == [names[0]]
    assert next(bin_folder.rglob("*.gguf")).read_bytes() == BIG
    assert (folder / names[1]).read_bytes() == BIG[::-1]


def test_a_trash_that_fails_loses_nothing(hub, monkeypatch):
    first, second = two_revisions(hub)

    def fail(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("send2trash.send2trash", fail)
    for path in (second.folder, Path(first.folder).parents[1]):
        with pytest.raises(errors.NotTrashed, match="Permission denied"):
            trash(path)
    assert all(not one.broken for one in cached().repos[0].revisions)
    assert len(cached().repos[0].revisions) == 2
    assert not list(Path(os.environ["HF_HUB_CACHE"]).glob(".trash-*"))


def test_contents_that_the_client_keeps_for_the_whole_cache(hub, cache, bin_folder):
    """huggingface_hub 2 may link a repository's contents to a store for all: what another uses stays there."""
    store = cache / "blobs" / "aa" / ("a" * 64)
    store.parent.mkdir(parents=True)
    one = get(repo="owner/small")
    other = get(repo="other/small-too")
    blob = Path(os.path.realpath(Path(one.folder) / "model.safetensors"))
    os.replace(blob, store)
    twin = Path(os.path.realpath(Path(other.folder) / "model.safetensors"))
    twin.unlink()
    for link in (blob, twin):
        link.symlink_to(os.path.relpath(store, link.parent))
    trash(Path(one.folder).parents[1])
    assert (Path(other.folder) / "model.safetensors").read_bytes() == BIG
    trash(Path(other.folder).parents[1])
    assert not store.exists()
    assert [path for path in bin_folder.rglob("*") if path.is_file() and path.stat().st_size == len(BIG)]


def test_what_jobs_need_is_named_and_what_runs_blocks(hub, tmp_path, bin_folder):
    folder = get().folder
    store = Store()
    job = QuantizeJob(source=folder, output=str(tmp_path / "o.gguf"), options=QuantizeOptions(target="Q8_0"))
    waiting = store.add(job)
    (use,) = trash(folder, dry_run=True).items[0].uses
    assert (use.kind, use.name, use.blocks) == ("job", "quantize of small (queued)", False)
    store.start(waiting)
    with pytest.raises(errors.InUse, match="quantize of small"):
        trash(folder)
    store.cancel(waiting)
    trash(folder)
    assert cached().repos == ()


def test_files_go_with_all_their_parts_and_folders_whole(tmp_path, bin_folder):
    for number in (1, 2):
        (tmp_path / f"m-{number:05}-of-00002.gguf").write_bytes(b"x" * 10)
    (tmp_path / "n-00001-of-00002.gguf").write_bytes(b"y")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_bytes(b"{}")
    answer = trash(tmp_path / "m-00001-of-00002.gguf", model)
    assert (answer.bytes, [item.files for item in answer.items]) == (22, [2, 1])
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "Trash") == ["n-00001-of-00002.gguf"]
    assert {path.name for path in bin_folder.iterdir()} == {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "model"}


def test_what_is_no_model_is_never_deleted(hub, tmp_path, bin_folder, sample, own_folders):
    get()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    root = Path(os.environ["HF_HUB_CACHE"])
    for path in (
        tmp_path / "notes.txt",
        tmp_path / "empty",
        Path.home(),
        root,
        sample,
        root / "models--owner--small" / "blobs",
    ):
        with pytest.raises(errors.NotAModel):
            trash(path)
    with pytest.raises(errors.SourceNotFound):
        trash(tmp_path / "nothing.gguf")
    assert cached().repos


def test_a_link_out_of_the_cache_is_no_content_of_it(hub, cache, tmp_path, bin_folder):
    folder = Path(get().folder)
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(b"mine")
    (folder / "planted.gguf").symlink_to(outside)
    assert cached().repos[0].revisions[0].broken == ("planted.gguf",)
    trash(folder)
    assert outside.read_bytes() == b"mine"


def test_what_the_client_has_downloaded_is_listed_too(hub, cache):
    snapshot_download("owner/small", cache_dir=cache, endpoint=hub.endpoint, allow_patterns=sorted(NEEDED))
    assert [one.repo for one in cached().repos] == ["owner/small"]
