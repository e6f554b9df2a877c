"""Downloads against a Hub on this computer: the right bytes, or an error that says what to do, whatever goes wrong."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from huggingface_hub import snapshot_download, try_to_load_from_cache

from core import errors
from core.errors import Cancelled
from core.hub import download as module
from core.hub import partial
from core.hub.download import download
from core.jobs import DownloadJob
from core.progress import Progress
from tests.architecture.tree import ROOT
from tests.core.hub.conftest import BIG, MANNERS, PIECE, TOKEN, small_model
from tests.hub_server import Repo

JOB = DownloadJob(repo="owner/small")
WANTED = {"config.json", "tokenizer.json", "README.md", "empty.txt", "model.safetensors"}

# A download in a process of its own; it prints a line when so many bytes are here.
PROGRAM = """
import sys
from dataclasses import replace
from core.hub.download import download
from core.jobs import DownloadJob
from core.progress import Progress
from tests.core.hub.conftest import MANNERS
def show(snapshot):
    print(snapshot.done, snapshot.note, flush=True)
print("fetched", download(DownloadJob(repo="owner/small"), Progress(show), replace(MANNERS, stall_s=20)).fetched)
"""


def get(job=JOB, progress=None, **manners):
    return download(job, progress or Progress(), replace(MANNERS, **manners))


def check(result):
    """Every file asked for is in place with its content."""
    assert {file.name for file in result.files} == WANTED
    for name in WANTED:
        with open(os.path.join(result.folder, name), "rb") as file:
            assert file.read() == small_model()[name], name


def leftovers(cache):
    return list(cache.rglob("*.part*"))


def test_a_model_comes_into_the_cache_of_all_programs(hub, cache):
    hub.faults.rate = 1_000_000
    result = get()
    check(result)
    assert result.fetched == result.bytes == sum(len(small_model()[name]) for name in WANTED)
    assert {file.name for file in result.skipped} == set(small_model()) - WANTED
    assert hub.most_open > 1  # several connections for the large file
    assert not leftovers(cache)
    found = try_to_load_from_cache("owner/small", "model.safetensors", cache_dir=cache)
    assert found == os.path.join(result.folder, "model.safetensors")
    assert snapshot_download("owner/small", cache_dir=cache, local_files_only=True) == result.folder


def test_what_is_here_is_not_fetched_again(hub):
    get()
    sent = hub.sent
    result = get()
    check(result)
    assert (result.fetched, hub.sent) == (0, sent)


def test_what_the_hubs_own_client_has_downloaded_is_not_fetched_again(hub, cache):
    theirs = snapshot_download("owner/small", cache_dir=cache, endpoint=hub.endpoint, allow_patterns=sorted(WANTED))
    sent = hub.sent
    result = get()
    check(result)
    assert (result.folder, result.fetched, hub.sent) == (theirs, 0, sent)


def test_the_hubs_own_client_does_not_fetch_again_what_is_here(hub, cache):
    result = get()
    large = len(hub.contents("cdn"))
    theirs = snapshot_download("owner/small", cache_dir=cache, endpoint=hub.endpoint, allow_patterns=sorted(WANTED))
    assert theirs == result.folder
    assert len(hub.contents("cdn")) == large


def test_a_folder_of_the_users(hub, tmp_path):
    job = JOB.model_copy(update={"output": str(tmp_path / "out")})
    check(get(job))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(WANTED)
    assert not (tmp_path / "cache" / "models--owner--small").exists()
    assert get(job).fetched == 0
    (tmp_path / "out" / "config.json").write_bytes(b"x" * len(small_model()["config.json"]))
    with pytest.raises(errors.OutputNotWritable, match="another file"):
        get(job)


def test_a_folder_takes_from_the_cache_what_is_there(hub, tmp_path):
    get()
    sent = hub.sent
    result = get(JOB.model_copy(update={"output": str(tmp_path / "out")}))
    check(result)
    assert hub.sent == sent


@pytest.mark.parametrize("seed", range(3))
def test_connections_cut_at_twenty_random_offsets(hub, cache, seed):
    hub.faults.cuts.extend(random.Random(seed).randrange(PIECE // 2) for _ in range(20))
    check(get())
    assert not hub.faults.cuts
    assert hub.sent < 1.05 * len(BIG) + 10_000  # only what was missing was asked for again
    assert not leftovers(cache)


def test_contents_in_xet_storage_come_as_others_do(hub):
    hub.repos["owner/small"].xet = True
    check(get())
    assert not [request for request in hub.log if "xet" in request.path]


def test_one_that_is_cancelled_leaves_the_others_alone(hub, cache):
    hub.faults.rate = 600_000
    hub.repos["owner/second"] = Repo(small_model() | {"model.safetensors": BIG[::-1]})
    seen, ended = [], []

    def cancel_the_second():
        try:
            get(DownloadJob(repo="owner/second"), Progress(seen.append, lambda: bool(seen) and seen[-1].done > 100_000))
        except Cancelled:
            ended.append(time.monotonic())

    other = threading.Thread(target=cancel_the_second)
    other.start()
    check(get())
    other.join(timeout=30)
    assert ended
    assert [path.parents[1].name for path in leftovers(cache) if path.suffix == ".part"] == ["models--owner--second"]
    hub.faults.rate = 0
    result = get(DownloadJob(repo="owner/second"))
    assert result.fetched < result.bytes


def test_a_server_that_restarts(hub):
    hub.faults.rate = 300_000
    timer = threading.Timer(0.3, lambda: (hub.stop(), time.sleep(0.2), hub.start()))
    timer.start()
    check(get(tries=30))
    timer.join()


FAULTS = {
    "429 of the store": [("cdn", 429, {"Retry-After": "1"})],
    "429 of the Hub": [("hub", 429, {})] * 3,
    "a burst of 500": [("hub", 500, {}), ("hub", 503, {}), ("hub", 502, {})],
    "an address that has expired": [("cdn", 403, {})],
}


@pytest.mark.parametrize("answers", FAULTS.values(), ids=FAULTS)
def test_passing_faults(hub, answers):
    hub.faults.answers.extend(answers)
    began = time.monotonic()
    check(get())
    assert not hub.faults.answers
    if "Retry-After" in answers[0][2]:
        assert time.monotonic() - began >= 1


def test_a_busy_interface(hub):
    hub.faults.api.extend([(429, {"Retry-After": "0"}), (503, {})])
    check(get())


def test_faults_that_do_not_pass_end_in_words(hub, cache):
    hub.faults.answers.extend([("hub", 500, {})] * 100)
    with pytest.raises(errors.DownloadBroken, match="500"):
        get(tries=3)


def test_a_stalled_connection_is_left(hub):
    hub.faults.stalls = 2
    began = time.monotonic()
    check(get())
    assert time.monotonic() - began < 8


def test_a_server_without_ranges(hub):
    hub.faults.without_ranges = True
    check(get())


def test_damage_is_found_and_mended(hub, cache):
    hub.faults.damaged = 1
    check(get())
    assert not leftovers(cache)


def test_damage_that_stays_is_an_error_and_nothing_is_kept(hub, cache):
    hub.faults.damaged = 1000
    with pytest.raises(errors.DownloadCorrupt):
        get()
    assert not leftovers(cache)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size == len(BIG)]


def test_a_file_that_changes_meanwhile_is_begun_anew(hub, cache):
    repo = hub.repos["owner/small"]
    changed = []

    def change(snapshot):
        if snapshot.stage == "Downloading" and snapshot.done > 200_000 and not changed:
            changed.append(True)
            repo.files["model.safetensors"] = BIG[::-1]

    hub.faults.rate = 600_000
    result = get(progress=Progress(change), connections=1)
    assert changed
    with open(os.path.join(result.folder, "model.safetensors"), "rb") as file:
        assert file.read() == BIG[::-1]
    assert not leftovers(cache)


def test_a_file_that_never_is_what_was_listed(hub):
    hub.faults.etag = "0" * 64
    with pytest.raises(errors.ChangedOnHub):
        get()


def test_cancelled_and_gone_on_with(hub, cache):
    hub.faults.rate = 400_000
    seen = []
    began = time.monotonic()
    with pytest.raises(Cancelled):
        get(progress=Progress(seen.append, lambda: bool(seen) and seen[-1].done > 300_000))
    assert time.monotonic() - began < 3
    assert leftovers(cache)
    hub.faults.rate = 0
    time.sleep(0.2)  # connections that are being given up still count
    sent = hub.sent
    result = get()
    check(result)
    assert hub.sent - sent < len(BIG) - 200_000
    assert not leftovers(cache)


def start(hub):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_killed_and_gone_on_with(hub, cache):
    hub.faults.rate = 100_000
    process = start(hub)
    for line in process.stdout:
        if int(line.split()[0]) > 450_000:
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)
    process.stdout.close()
    assert leftovers(cache)
    hub.faults.rate = 0
    time.sleep(0.3)
    result = get()
    check(result)
    assert result.fetched < len(BIG) - 50_000


def test_two_programs_fetch_one_file_once(hub, cache):
    hub.faults.rate = 150_000
    process = start(hub)
    assert process.stdout.readline()
    seen = []
    result = get(progress=Progress(seen.append))
    out, _ = process.communicate(timeout=30)
    check(result)
    theirs = int(out.split()[-1])
    assert result.fetched + theirs == result.bytes
    assert hub.sent < 1.1 * result.bytes


def test_gated_without_a_token(hub, cache):
    with pytest.raises(errors.HubGated, match=f"Open {hub.endpoint}/owner/gated.*token --save") as caught:
        get(DownloadJob(repo="owner/gated"))
    assert caught.value.exit_code == errors.BAD_INPUT


def test_gated_with_a_token_that_has_no_access(hub, monkeypatch):
    hub.tokens.add("hf_other")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(errors.HubGated, match="has not been given access"):
        get(DownloadJob(repo="owner/gated"))


def test_a_revoked_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_revoked")
    with pytest.raises(errors.HubTokenRefused) as caught:
        get()
    assert "hf_revoked" not in caught.value.line


def test_the_token_stays_with_the_hub_and_out_of_all_files(hub, cache, tmp_path, own_folders, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    check(get(DownloadJob(repo="owner/gated")))
    asked = {side: {request.authorization for request in hub.log if request.side == side} for side in ("hub", "cdn")}
    assert asked == {"hub": {f"Bearer {TOKEN}"}, "cdn": {""}}
    files = [path for folder in (tmp_path, own_folders) for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "job",
    [
        DownloadJob(repo="owner/missing"),
        DownloadJob(repo="owner/small", revision="missing"),
        DownloadJob(repo="owner/small", revision="../main"),
    ],
)
def test_what_is_not_there(hub, job):
    with pytest.raises(errors.HubNotFound):
        get(job)


def test_what_is_no_id(hub):
    with pytest.raises(errors.NotAHubId):
        get(DownloadJob(repo="../../etc"))


@pytest.mark.parametrize("name", ["../../evil.json", "/tmp/evil.json", "x" * 300 + ".json", "a\\..\\evil.json"])
def test_bad_names_write_nothing(hub, tmp_path, name):
    hub.repos["owner/small"].files = {"config.json": b"{}", "model.safetensors": BIG, name: b"evil"}
    with pytest.raises(errors.UnsafeFileName):
        get(JOB.model_copy(update={"include": ("*",)}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_names_that_are_one_on_other_systems(hub):
    hub.repos["owner/small"].files = {"model.safetensors": BIG, "config.json": b"{}", "Config.json": b"{}"}
    with pytest.raises(errors.UnsafeFileName):
        get()


@pytest.mark.parametrize("inside", ["blobs", "snapshots", "file"])
def test_links_that_lead_out_of_the_cache(hub, cache, tmp_path, inside):
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = cache / "models--owner--small"
    snapshot = folder / "snapshots" / hub.repos["owner/small"].commit
    link = {"blobs": folder / "blobs", "snapshots": folder / "snapshots", "file": snapshot / "config.json"}[inside]
    link.parent.mkdir(parents=True)
    (outside / "config.json").write_bytes(small_model()["config.json"])
    link.symlink_to(outside / "config.json" if inside == "file" else outside)
    with pytest.raises(errors.UnsafeCache, match="outside"):
        get()
    assert [path.name for path in outside.rglob("*") if path.is_file()] == ["config.json"]


def test_a_link_planted_under_a_parts_name_is_not_written_through(hub, cache, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    part = cache / "models--owner--small" / "blobs" / f"{hub.repos['owner/small'].digest('model.safetensors')}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to(victim)
    with pytest.raises((errors.OutputNotWritable, errors.UnsafeCache)):
        get()
    assert victim.read_bytes() == b"mine"


def usage(free):
    return lambda path: shutil._ntuple_diskusage(10**12, 0, free)


def test_a_disk_too_small_is_told_before_anything_is_fetched(hub, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", usage(1000))
    with pytest.raises(errors.DiskFull):
        get()
    assert not hub.contents()


def test_a_disk_that_fills_up_keeps_what_has_arrived(hub, cache, monkeypatch):
    real = os.write
    full = []

    def write(file, data):
        full.append(len(data))
        if sum(full) > 300_000:
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(partial.os, "write", write)
    with pytest.raises(errors.DiskFull):
        get()
    assert leftovers(cache)
    monkeypatch.setattr(partial.os, "write", real)
    result = get()
    check(result)
    assert result.fetched < len(BIG)


@pytest.mark.parametrize("how", ["variable", "nobody answers"])
def test_offline_is_said_at_once(hub, monkeypatch, how):
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        hub.stop()
    began = time.monotonic()
    with pytest.raises(errors.HubOffline):
        get()
    assert time.monotonic() - began < 2


def test_the_limit_holds(hub):
    began = time.monotonic()
    check(get(limit=600_000))
    assert 0.7 < time.monotonic() - began < 3


def test_a_login_page_in_between_is_recognised(hub):
    hub.faults.api.append((200, {}))
    with pytest.raises(errors.HubAnswerInvalid, match="HF_ENDPOINT"):
        get()
