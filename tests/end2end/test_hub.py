"""The way of a model: found on a Hub, judged, downloaded, quantized, published, downloaded elsewhere, asked.

Each step is the real command in a process of its own, with the real client, against a Hub on this computer. On the way
the token is looked for wherever it must not be: in files, answers, messages, the history and the list of processes.
"""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from core.jobs import AccountJob, DownloadJob, UploadJob
from tests.core import hf_tiny
from tests.core.hub.conftest import TOKEN, files_of
from tests.end2end.command import arguments, run
from tests.hub_server import HubServer, Repo


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A gated model among others; the account has access."""
    tiny = files_of(hf_tiny.build(tmp_path / "tiny"))
    tiny["README.md"] = b"---\nlicense: apache-2.0\n---\n# Tiny"
    tiny |= {"pytorch_model.bin": b"x" * 1000, "onnx/model.onnx": b"y" * 1000}
    repos = {
        "owner/tiny": Repo(tiny, access={TOKEN}, tags=("safetensors", "license:apache-2.0"), downloads=9),
        "owner/other": Repo({"a.txt": b"1"}),
    }
    with HubServer(repos) as server:
        server.tokens = {TOKEN}
        for name, value in {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_CACHE": tmp_path / "cache",
                            "HF_HOME": tmp_path / "home", "NO_PROXY": "*"}.items():  # fmt: skip
            monkeypatch.setenv(name, str(value))
        yield server


class ProcessList:
    """Looks at the command lines of this process's children all the while."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ProcessList:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for process in psutil.Process().children(recursive=True):
                try:
                    self.seen.add(" ".join(process.cmdline()))
                except psutil.Error:
                    continue


def value(*words, **environment):
    """A command's answer."""
    ran = run(*words, "--json", **environment)
    assert ran.code == 0, ran.err
    assert TOKEN not in ran.out + ran.err
    return ran.value


def holding(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_from_the_hub_and_back_to_it(hub, tmp_path, own_folders, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ProcessList() as processes:
        (found,) = value("search", "tiny", "--format", "safetensors")["models"]
        assert (found["repo"], found["gated"], found["license"]) == ("owner/tiny", True, "apache-2.0")

        page = value("page", "owner/tiny")
        assert (page["access"], page["card"]) == ("granted", "# Tiny")
        left = {file["name"] for file in page["files"] if file["skipped"]}
        assert left == {"pytorch_model.bin", "onnx/model.onnx"}

        fits = value("search", "tiny", "--fit", "--context", "64")["fits"]["owner/tiny"]
        assert fits["words"] == "Fits"
        assert not (tmp_path / "cache").exists()

        got = value("download", "owner/tiny")
        assert {file["name"] for file in got["skipped"]} == left
        (repo,) = value("library")["repos"]
        assert repo["revisions"][0]["folder"] == got["folder"]

        made = value("quantize", "owner/tiny", "--to", "Q8_0", "--out", tmp_path / "tiny-Q8_0.gguf")
        shown = value("upload", made["output"], "me/tiny-GGUF", "--dry-run")
        sent = value("upload", made["output"], "me/tiny-GGUF")
        assert sent["card"] == shown["card"] == hub.repos["me/tiny-GGUF"].files["README.md"].decode()
        for words in ("base_model: owner/tiny", "license: apache-2.0", "dB, relative RMSE", "-hf me/tiny-GGUF:Q8_0"):
            assert words in sent["card"], words
        assert not sent["warnings"]

        fresh = {"HF_HUB_CACHE": str(tmp_path / "another")}
        back = value("download", "me/tiny-GGUF", **fresh)
        assert (Path(back["folder"]) / "tiny-Q8_0.gguf").read_bytes() == Path(made["output"]).read_bytes()
        said = value("chat", "me/tiny-GGUF", "--prompt", "Hello", "--max-tokens", "4", "--context", "64", **fresh)
        assert said["turns"][0]["tokens"] > 0

        offline = {"HF_HUB_OFFLINE": "1"}
        assert value("inspect", "owner/tiny", **offline)["architecture"] == "llama"
        refused = run("search", "tiny", **offline)
        assert (refused.code, "offline mode is switched on" in refused.err) == (1, True)

    assert len(processes.seen) >= 8
    assert not [line for line in processes.seen if TOKEN in line]
    assert not [path for folder in (tmp_path, own_folders) for path in holding(folder, TOKEN)]
    assert holding(own_folders, "tiny-Q8_0.gguf")  # the history was written where it was looked for
    assert {request.authorization for request in hub.log if request.side == "cdn"} == {""}


def test_a_worker_tells_no_token_whatever_becomes_of_a_job(hub, tmp_path, own_folders, sample):
    """The jobs of the window's queue, over the pipe: what comes back, and what libraries print."""
    jobs = [
        DownloadJob(repo="owner/tiny"),
        DownloadJob(repo="owner/missing"),
        UploadJob(source=str(sample), repo="somebody/else"),
        AccountJob(),
    ]
    lines = [
        json.dumps({"job": job.model_dump(mode="json"), "id": str(number)}) + "\n" for number, job in enumerate(jobs)
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    outcomes, printed = [], []
    with subprocess.Popen(arguments("--worker"), text=True, **pipes) as worker:
        for number, line in enumerate(lines):
            if number == 3:
                hub.tokens.clear()  # revoked meanwhile
            worker.stdin.write(line)
            worker.stdin.flush()
            for said in worker.stdout:
                printed.append(said)
                event = json.loads(said)
                if event["event"] != "progress":
                    outcomes.append((event["event"], event.get("error", {}).get("kind", "")))
                    break
        worker.stdin.close()
        printed.append(worker.stderr.read())
    assert outcomes == [
        ("result", ""),
        ("error", "HubNotFound"),
        ("error", "HubReadOnly"),
        ("error", "HubTokenRefused"),
    ]
    everything = "".join([*printed, *lines])
    assert TOKEN not in everything
    assert "Bearer" not in everything
    assert not [path for folder in (tmp_path, own_folders) for path in holding(folder, TOKEN)]
