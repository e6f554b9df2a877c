"""`search` and `download` on the command line, and what they download as a source of the other commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli
from core.hub.fetch import Manners
from tests.core.hub.conftest import BIG, TOKEN
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
    code, _, err = run(capsys, "inspect", "owner/quants")
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


@pytest.mark.parametrize("command", ["search", "download"])
def test_help(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert "--json" in capsys.readouterr().out
