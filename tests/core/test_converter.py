"""Folders of families that no row knows, through a script that stands for llama.cpp's converter."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from core import engine, errors
from core.fingerprint import fingerprint
from core.jobs import (
    InspectJob,
    ModelSummary,
    Plan,
    PlanJob,
    PreflightJob,
    PreflightResult,
    QuantizeJob,
    QuantizeOptions,
    QuantizeResult,
)
from core.plan import prepare
from core.progress import Progress, Snapshot
from core.sources.converter import open_or_convert
from tests.core import hf_tiny, small_models

# Does what config.json says: copies a finished file, or waits, fails, or writes nothing.
SCRIPT = """
import json, os, pathlib, shutil, subprocess, sys, time
arguments = sys.argv[1:]
folder, out = pathlib.Path(arguments[0]), pathlib.Path(arguments[arguments.index("--outfile") + 1])
assert arguments[-2:] == ["--outtype", "auto"] and "PYTHONPATH" not in os.environ
assert os.environ["HF_HUB_OFFLINE"] == "1"
told = json.loads((folder / "config.json").read_text())
if told["does"] == "fails":
    raise NotImplementedError("Architecture 'Strange' not supported!")
if told["does"] == "waits":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "pids").write_text(f"{os.getpid()} {child.pid}")
    out.write_bytes(b"GGUF")
    time.sleep(600)
if told["does"] == "copies":
    shutil.copy(folder / "made.gguf", out)
"""
PLAIN = QuantizeOptions(target="Q8_0")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(SCRIPT)
    return folder


def strange(folder: Path, does: str = "copies") -> Path:
    """A folder of an unknown family, with what is to become of it."""
    hf_tiny.build(folder, config={"architectures": ["StrangeForCausalLM"], "does": does})
    small_models.write(folder / "made.gguf", small_models.weights())
    return folder


def options_with(checkout: Path) -> QuantizeOptions:
    return PLAIN.model_copy(update={"converter": str(checkout)})


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_without_a_converter_the_error_names_the_architecture_and_the_way(tmp_path: Path) -> None:
    with pytest.raises(errors.UnknownArchitecture) as caught:
        engine.run(PlanJob(source=str(strange(tmp_path / "model")), options=PLAIN))
    assert "StrangeForCausalLM" in caught.value.line
    assert "--converter" in caught.value.remedy


@pytest.mark.parametrize("script", ["", "convert_hf_to_gguf.py"])
def test_an_unknown_family_is_converted_and_quantized(tmp_path: Path, checkout: Path, script: str) -> None:
    source, out = strange(tmp_path / "model"), tmp_path / "out" / "model.gguf"
    out.parent.mkdir()
    job = QuantizeJob(source=str(source), output=str(out), options=options_with(checkout / script))
    seen: list[Snapshot] = []
    result = engine.run(job, Progress(seen.append))
    assert isinstance(result, QuantizeResult)
    assert result.source == str(source)
    assert "Converting with llama.cpp" in [snapshot.stage for snapshot in seen]
    assert [path.name for path in out.parent.iterdir()] == ["model.gguf"]
    direct = QuantizeJob(source=str(source / "made.gguf"), output=str(tmp_path / "direct.gguf"), options=PLAIN)
    engine.run(direct)
    assert out.read_bytes() == (tmp_path / "direct.gguf").read_bytes()


def test_plan_inspect_and_preflight(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, work = strange(tmp_path / "model"), tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    made = engine.run(PlanJob(source=str(source), options=options_with(checkout)))
    assert isinstance(made, Plan)
    assert (made.source, made.architecture) == (str(source), "llama")
    summary = engine.run(InspectJob(source=str(source), converter=str(checkout)))
    assert isinstance(summary, ModelSummary)
    assert summary.path == str(source)
    assert list(work.iterdir()) == []
    before = engine.run(PreflightJob(source=str(source), output=str(work / "o.gguf"), options=options_with(checkout)))
    assert isinstance(before, PreflightResult)
    assert [(check.level, check.step) for check in before.checks] == [("fine", "architecture")]
    without = engine.run(PreflightJob(source=str(source), output=str(work / "o.gguf"), options=PLAIN))
    assert isinstance(without, PreflightResult)
    assert without.worst == "error"


def test_what_is_known_is_not_given_to_the_converter(tmp_path: Path, checkout: Path) -> None:
    folder = hf_tiny.build(tmp_path / "known", config={"does": "fails"})
    made = engine.run(PlanJob(source=str(folder), options=options_with(checkout)))
    assert isinstance(made, Plan)


def test_a_tokenizer_that_is_not_known_is_reason_enough(tmp_path: Path, checkout: Path) -> None:
    folder = strange(tmp_path / "model")
    unigram = {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}
    hf_tiny.build(folder, config={"does": "copies"}, files={"tokenizer.json": unigram})
    with pytest.raises(errors.CannotConvert):
        engine.run(PlanJob(source=str(folder), options=PLAIN))
    assert isinstance(engine.run(PlanJob(source=str(folder), options=options_with(checkout))), Plan)


@pytest.mark.parametrize(
    ("does", "words"), [("fails", "Architecture 'Strange' not supported!"), ("nothing", "it said nothing")]
)
def test_a_failure_is_told_in_the_converter_s_words(tmp_path: Path, checkout: Path, does: str, words: str) -> None:
    job = QuantizeJob(
        source=str(strange(tmp_path / "model", does)), output=str(tmp_path / "o.gguf"), options=options_with(checkout)
    )
    with pytest.raises(errors.ConversionFailed) as caught:
        engine.run(job)
    assert words in caught.value.line
    assert hidden(tmp_path) == []


def test_a_wrong_path_is_said(tmp_path: Path) -> None:
    source = strange(tmp_path / "model")
    for place in (tmp_path, tmp_path / "nowhere", source / "config.json"):
        with pytest.raises(errors.NotAConverter) as caught:
            engine.run(PlanJob(source=str(source), options=options_with(place)))
        assert str(place) in caught.value.line


def test_a_damaged_result_is_an_error_and_is_removed(tmp_path: Path, checkout: Path) -> None:
    source = strange(tmp_path / "model")
    (source / "made.gguf").write_bytes(b"GGUF")
    job = QuantizeJob(source=str(source), output=str(tmp_path / "o.gguf"), options=options_with(checkout))
    with pytest.raises(errors.TruncatedFile):
        engine.run(job)
    assert hidden(tmp_path) == []


def test_too_little_room_is_said_before(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage(10, 0, 10))
    job = QuantizeJob(
        source=str(strange(tmp_path / "model")), output=str(tmp_path / "o.gguf"), options=options_with(checkout)
    )
    with pytest.raises(errors.DiskFull):
        engine.run(job)
    assert hidden(tmp_path) == []


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_cancelling_kills_it_and_what_it_started(tmp_path: Path, checkout: Path) -> None:
    source = strange(tmp_path / "model", "waits")
    stop = threading.Event()
    job = QuantizeJob(source=str(source), output=str(tmp_path / "o.gguf"), options=options_with(checkout))
    caught: list[Any] = []

    def run() -> None:
        try:
            engine.run(job, Progress(cancelled=stop.is_set))
        except errors.Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    pids = source / "pids"
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        time.sleep(0.05)
    stop.set()
    thread.join(30)
    assert len(caught) == 1
    left, until = [int(pid) for pid in pids.read_text().split()], time.monotonic() + 30
    while (left := [pid for pid in left if is_running(pid)]) and time.monotonic() < until:
        time.sleep(0.05)  # they were told to end; how soon they are gone is the system's affair
    assert left == []
    assert hidden(tmp_path) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, checkout: Path) -> None:
    left, other = tmp_path / ".bitwright-convert-99999999-abc", tmp_path / ".bitwright-convert-1-abc"
    left.mkdir()
    other.mkdir()
    (left / "model.gguf").write_bytes(b"GGUF")
    job = QuantizeJob(
        source=str(strange(tmp_path / "model")), output=str(tmp_path / "o.gguf"), options=options_with(checkout)
    )
    engine.run(job)
    assert hidden(tmp_path) == [other.name]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["does"] == "copies"


def test_what_it_is_made_of_is_the_same_each_time(tmp_path: Path, checkout: Path) -> None:
    """So that an interrupted job goes on, although the file in between is another one."""
    source = strange(tmp_path / "model")
    digests = []
    for options in (options_with(checkout), options_with(checkout)):
        job = QuantizeJob(source=str(source), output=str(tmp_path / "o.gguf"), options=options)
        with open_or_convert(str(source), options.converter, tmp_path, Progress()) as opened:
            digests.append(fingerprint(opened, [job], [prepare(opened, options)]))
    assert digests[0] == digests[1]
    with (source / "config.json").open("a") as file:
        file.write(" ")
    with open_or_convert(str(source), str(checkout), tmp_path, Progress()) as opened:
        assert fingerprint(opened, [job], [prepare(opened, options)])["source"] != digests[0]["source"]
