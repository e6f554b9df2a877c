"""`search` and `download` on the command line, and what they download as a source of the other commands."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path

import pytest

from app import cli
from core.hub.fetch import Manners
from tests.core import hf_tiny
from tests.core.hub.conftest import BIG, TOKEN, files_of, own_keyring
from tests.core.small_models import small_model
from tests.hub_server import Repo


def run(capsys, *arguments):
    code = cli.main(arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_search_as_a_table_and_as_json(hub, capsys):
    code, out, err = run(capsys, "search", "small")
    assert (code, err) == (0, "")
    assert "owner/small" in out
    assert "1.5K" in out
    code, out, _ = run(capsys, "search", "gated", "--json", "--limit", "1")
    assert [model["repo"] for model in json.loads(out)["models"]] == ["owner/gated"]
    code, out, _ = run(capsys, "search", "zebra")
    assert "no model for 'zebra'" in out


def test_download_inspect_and_quantize_by_id(hub, capsys, tmp_path, monkeypatch, sample):
    monkeypatch.chdir(tmp_path)
    hub.repos["owner/quants"] = Repo({"sample-Q4_1.gguf": sample.read_bytes(), "README.md": b"# A model"})
    code, _, err = run(capsys, "verify", "owner/quants")
    assert code == 2
    assert "Download it first: main.py download owner/quants" in err
    code, out, err = run(capsys, "download", "owner/quants", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (Path(result["folder"]) / "sample-Q4_1.gguf").stat().st_size == sample.stat().st_size
    code, out, err = run(capsys, "inspect", "owner/quants", "--json")
    assert code == 0, err
    assert json.loads(out)["architecture"] == "llama"
    code, out, err = run(capsys, "plan", "owner/quants", "--to", "Q2_K", "--allow-requantize", "--json")
    assert code == 0, err
    code, out, err = run(capsys, "download", "owner/quants")
    assert code == 0, err
    assert "Fetched  0 B of" in out


def test_download_into_a_folder_with_a_choice(hub, capsys, tmp_path):
    code, out, err = run(capsys, "download", "owner/quants", "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "")
    assert "--include 'small-Q4_0.gguf'" in err
    options = ("--include", "*Q8_0*", "--out", str(tmp_path / "out"), "--limit-rate", "5M", "--connections", "2")
    code, out, err = run(capsys, "download", "owner/quants", *options)
    assert code == 0, err
    assert (tmp_path / "out" / "small-Q8_0.gguf").read_bytes() == BIG[::-1]
    assert "not asked for" in out


def test_errors_are_one_line_and_the_token_is_in_none(hub, capsys, monkeypatch, tmp_path):
    code, out, err = run(capsys, "download", "owner/gated")
    assert (code, out) == (2, "")
    assert err.startswith("error: owner/gated is gated: no token was sent. Open http")
    assert len(err.splitlines()) == 1
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.tokens.clear()
    code, out, err = run(capsys, "download", "owner/gated", "--debug")
    assert code == 2
    assert "refused your token" in err
    hub.tokens.add(TOKEN)
    hub.faults.answers.extend([("cdn", 500, {})] * 30)
    monkeypatch.setattr("core.hub.download.Manners", lambda *given: Manners(*given, tries=2, first_wait_s=0.01))
    code, broken, words = run(capsys, "download", "owner/gated", "--debug")
    assert code == 1
    assert "answered 500" in words
    assert not [text for text in (out, err, broken, words) if TOKEN in text or "signature" in text]


def test_offline(hub, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for command in (("search", "small"), ("download", "owner/small")):
        code, out, err = run(capsys, *command)
        assert (code, out) == (1, "")
        assert "offline mode is switched on" in err
        assert "work without it" in err


def test_offline_names_what_is_here(hub, capsys, monkeypatch):
    assert run(capsys, "download", "owner/small")[0] == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for more in ((), ("--include", "*.safetensors", "--include", "config.json")):
        code, out, _ = run(capsys, "download", "owner/small", *more)
        assert (code, "all of the model is on this computer" in out) == (0, True)
    code, out, _ = run(capsys, "download", "owner/small", "--json")
    answer = json.loads(out)
    assert (code, answer["fetched"], answer["offline"]) == (0, 0, True)
    assert "model.safetensors" in [file["name"] for file in answer["files"]]
    # What may be missing is not taken for complete.
    (blob,) = [path for path in Path(answer["folder"]).iterdir() if path.name == "config.json"]
    for more in (("--include", "*.bin"), ("--out", "elsewhere")):
        code, _, err = run(capsys, "download", "owner/small", *more)
        assert (code, "What was downloaded of owner/small before can be used" in err) == (1, True)
    blob.parent.joinpath("model.safetensors").unlink()
    assert run(capsys, "download", "owner/small")[0] == 1


@pytest.mark.parametrize("command", ["search", "page", "download", "upload", "token", "library", "trash"])
def test_help(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "--json" in capsys.readouterr().out


@pytest.fixture
def home(hub, tmp_path, monkeypatch):
    """A folder to stand in that has no paths like ids."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_search_in_pages_with_filters(hub, capsys):
    hub.repos["big/llama"] = Repo({}, tags=("safetensors",), downloads=9, parameters=7_000_000_000, task="translation")
    code, out, err = run(capsys, "search", "--least", "1B", "--most", "8B", "--json")
    assert code == 0, err
    assert [model["repo"] for model in json.loads(out)["models"]] == ["big/llama"]
    code, out, _ = run(capsys, "search", "--task", "translation", "--library", "transformers", "--json")
    assert [model["repo"] for model in json.loads(out)["models"]] == ["big/llama"]
    seen, page = [], ""
    while True:
        code, out, err = run(capsys, "search", "", "--limit", "3", "--json", *(["--page", page] if page else []))
        assert code == 0, err
        answer = json.loads(out)
        seen += [model["repo"] for model in answer["models"]]
        page = answer["next_page"]
        if not page:
            break
    assert seen == ["owner/small", "owner/gated", "owner/quants", "big/llama", "other/small-too"]
    code, _, err = run(capsys, "search", "--page", "0 http://elsewhere/api/models")
    assert (code, "no such page" in err) == (2, True)
    for wrong in ("many", "-3"):
        assert run(capsys, "search", f"--least={wrong}")[0] == 2


def test_search_says_what_fits(hub, capsys, tmp_path):
    hub.repos = {"owner/tiny": Repo(files_of(hf_tiny.build(tmp_path / "tiny"))), "owner/none": Repo({"a.txt": b"1"})}
    code, out, err = run(capsys, "search", "", "--fit", "--context", "128", "--json")
    assert code == 0, err
    fits = json.loads(out)["fits"]
    assert (fits["owner/tiny"]["words"], fits["owner/none"]) == ("Fits", None)
    code, out, _ = run(capsys, "search", "tiny", "--fit")
    assert "Fits" in out


def test_page_and_library(hub, capsys, home):
    hub.repos["owner/small"].files["README.md"] = b"# Small\x1b[31m red"
    code, out, err = run(capsys, "page", "owner/small")
    assert code == 0, err
    assert "weights for ONNX" in out
    assert "# Small[31m red" in out
    assert run(capsys, "library")[1].startswith("No model is in the cache.")
    assert run(capsys, "download", "owner/small")[0] == 0
    code, out, err = run(capsys, "library")
    assert code == 0, err
    assert "owner/small  main" in out
    folder = json.loads(run(capsys, "library", "--json")[1])["repos"][0]["folder"]
    code, out, err = run(capsys, "trash", folder, "--dry-run")
    assert code == 0, err
    assert "would be freed" in out
    code, out, err = run(capsys, "trash", "owner/small", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["items"][0]["path"] == folder
    assert run(capsys, "trash", "owner/nothing", "--dry-run")[0] == 2
    assert Path(folder).is_dir()


def test_a_token_is_kept_in_the_keyring_or_the_reason_is_said(hub, capsys, monkeypatch):
    assert "There is no token" in run(capsys, "token")[1]
    monkeypatch.setattr("sys.stdin", io.StringIO(TOKEN + "\n"))
    code, out, err = run(capsys, "token", "--save")
    assert (code, out) == (1, "")
    assert "keyring cannot be used" in err
    assert "HF_TOKEN" in err
    with own_keyring():
        monkeypatch.setattr("sys.stdin", io.StringIO("two words\n"))
        assert run(capsys, "token", "--save")[0] == 2
        monkeypatch.setattr("sys.stdin", io.StringIO(TOKEN + "\n"))
        code, out, err = run(capsys, "token", "--save")
        assert code == 0, err
        assert "from the system's keyring" in out
        assert "me" in out
        assert run(capsys, "download", "owner/gated")[0] == 0
        assert run(capsys, "token", "--forget")[0] == 0
        assert "There is no token" in run(capsys, "token")[1]


def test_upload_on_the_command_line(hub, capsys, home, sample, monkeypatch):
    code, out, err = run(capsys, "upload", str(sample), "me/sample", "--dry-run")
    assert code == 0, err
    assert "library_name: gguf" in out
    assert "--base OWNER/NAME" in out
    assert run(capsys, "upload", str(sample), "me/sample")[0] == 2
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (home / "card.md").write_text("# Mine")
    folder = home / "model"
    folder.mkdir()
    (folder / "a.gguf").write_bytes(b"GGUF")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the client's own
        code, out, err = run(capsys, "upload", str(folder), "me/sample", "--public", "--card", "card.md", "--json")
    assert code == 0, err
    assert json.loads(out)["created"]
    assert hub.repos["me/sample"].files == {"a.gguf": b"GGUF", "README.md": b"# Mine"}


@pytest.mark.parametrize("command", ["inspect", "verify", "evaluate"])
def test_a_command_downloads_what_it_needs(hub, capsys, home, tmp_path, command):
    """Also where a command takes several models, and a file of several."""
    model = small_model(home / "here.gguf").read_bytes()
    hub.repos["owner/quants"] = Repo({"a-Q8_0.gguf": model, "b-Q4_0.gguf": model})
    words = {
        "inspect": ["inspect", "owner/quants/a-Q8_0.gguf"],
        "verify": ["verify", "owner/quants/a-Q8_0.gguf"],
        "evaluate": ["evaluate", "owner/quants/a-Q8_0.gguf", "--against", "no/model.gguf"],
    }[command]
    assert run(capsys, *words)[0] == (0 if command == "inspect" else 2)
    if command != "inspect":
        assert run(capsys, words[0], "owner/unknown", *words[2:])[2].rstrip().endswith("or give --download.")
    code, _, err = run(capsys, *words, "--download")
    if command == "evaluate":
        assert "no/model.gguf" in err  # the other one is not there
    else:
        assert code == 0, err
    assert [path.name for path in Path(os.environ["HF_HUB_CACHE"]).rglob("*.gguf")] == ["a-Q8_0.gguf"]
