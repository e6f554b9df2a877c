"""An interrupted job goes on where it was, to the same bytes and figures; what does not fit any more is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.engine import run
from core.errors import Cancelled, CannotResume
from core.formats.gguf_reader import read_header
from core.imatrix import write_imatrix
from core.jobs import KeyOverride, Override, QuantizeJob, QuantizeManyJob, QuantizeOptions
from core.journal import find_leftover
from core.progress import Progress
from tests.core.small_models import importance_of, small_model, weights, write
from tests.end2end import command

ROOT = Path(__file__).parents[2]
OWN = {"seconds", "peak_memory_bytes"}  # a run's own, whatever it makes


def job_for(source, output, target="Q4_K_M", **fields):
    options = {name: fields.pop(name) for name in QuantizeOptions.model_fields if name in fields}
    fields = {"keep_unfinished": True, "threads": 2, **fields}
    return QuantizeJob(
        source=str(source), output=str(output), options=QuantizeOptions(target=target, **options), **fields
    )


def many_for(source, folder, **fields):
    targets = ("Q4_K_M", "Q8_0", "F16")
    return QuantizeManyJob(
        source=str(source),
        targets=targets,
        outputs=tuple(str(folder / f"{target}.gguf") for target in targets),
        options=QuantizeOptions(target="Q4_K_M", **fields),
        threads=2,
    )


def stopped_after(count, job):
    """Runs a job that is cancelled after so many reports."""
    calls = iter(range(10**6))
    with pytest.raises(Cancelled):
        run(job, Progress(cancelled=lambda: next(calls) >= count))


def resumed(job, progress=None):
    return run(job.model_copy(update={"resume": True}), progress)


def same(one, other):
    """Two results but for what is each run's own."""
    return one.model_dump(exclude=OWN) == other.model_dump(exclude=OWN)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("resume") / "small.gguf")


@pytest.fixture
def chunked(monkeypatch):
    monkeypatch.setattr("core.plan.CHUNK_ELEMENTS", 4096)


# ---------------------------------------------------------------- killed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
@pytest.mark.parametrize(("kind", "kills"), [("one", 20), ("several in parts", 8)])
def test_killed_at_random_moments_every_job_ends_in_the_same_bytes(small, tmp_path, kind, kills):
    folder = tmp_path / "out"
    folder.mkdir()
    job = job_for(small, folder / "o.gguf") if kind == "one" else many_for(small, folder, split_max_bytes=300_000)
    asked = {
        "job": job.model_dump(mode="json"),
        "folder": str(folder),
        "answer": str(tmp_path / "answer"),
        "seed": 3,
        "kills": kills,
    }
    words = [sys.executable, "-m", "tests.core.killed"]
    pipes = {"input": json.dumps(asked), "capture_output": True, "text": True}
    done = subprocess.run(words, cwd=ROOT, timeout=240, check=False, **pipes)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    figures = [{key: value for key, value in _flat(row["result"]).items() if key not in OWN} for row in told["runs"]]
    assert all(row["killed"] and row["differ"] == [] for row in told["runs"]), [
        (row["at"], row["killed"], row["differ"]) for row in told["runs"]
    ]
    assert all(made == figures[0] for made in figures)
    # What the journal knew was not computed again; where there was none, or it had been removed, everything was.
    tensors = len(read_header(small).tensors)
    assert [row["computed"] for row in told["runs"]] == [tensors - max(0, row["lines"]) for row in told["runs"]]
    assert len({row["lines"] for row in told["runs"]}) > kills // 3


def _flat(result):
    if "results" in result:
        return {"results": [_flat(each) for each in result["results"]]}
    return {key: value for key, value in result.items() if key not in OWN}


def test_a_killed_command_is_resumed_on_the_command_line(small, tmp_path):
    words = ["quantize", str(small), "--to", "Q4_K_M", "--out", str(tmp_path / "o.gguf"), "--json", "--resume"]
    job = job_for(small, tmp_path / "o.gguf")
    whole = run(job)
    (tmp_path / "o.gguf").unlink()
    stopped_after(12, job)
    ran = command.run(*words)
    assert ran.code == 0, ran.err
    assert ran.value["sha256"] == whole.sha256
    assert command.run(*words[:-1], "--pure").code == 0


# ---------------------------------------------------------------- cancelled


def test_a_cancelled_job_keeps_what_is_done_where_it_was_asked_to(small, tmp_path, chunked):
    job = job_for(small, tmp_path / "o.gguf")
    whole = run(job)
    (tmp_path / "o.gguf").unlink()
    stopped_after(25, job)
    leftover = find_leftover([job.output])
    assert 0 < leftover.tensors < len(whole.tensors)
    assert leftover.bytes > 0
    seen = []
    result = resumed(job, Progress(seen.append))
    assert same(result, whole)
    first = next(snapshot for snapshot in seen if snapshot.stage == "Quantizing")
    assert first.done == sum(row.source_bytes for row in whole.tensors[: leftover.tensors])
    assert [path.name for path in tmp_path.iterdir()] == ["o.gguf"]
    stopped_after(25, job.model_copy(update={"keep_unfinished": False}))
    assert [path.name for path in tmp_path.iterdir()] == ["o.gguf"]


def test_resuming_where_nothing_was_left_begins_anew(small, tmp_path):
    assert resumed(job_for(small, tmp_path / "o.gguf")).bytes > 0


def test_without_resume_what_was_left_is_replaced(small, tmp_path):
    job = job_for(small, tmp_path / "o.gguf")
    stopped_after(12, job)
    run(job)
    assert [path.name for path in tmp_path.iterdir()] == ["o.gguf"]


def test_what_was_left_can_be_discarded(small, tmp_path):
    job = many_for(small, tmp_path, split_max_bytes=300_000).model_copy(update={"keep_unfinished": True})
    stopped_after(12, job)
    (tmp_path / "other").write_text("x")
    find_leftover(job.outputs).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert find_leftover(job.outputs) is None


def test_a_job_that_runs_is_nobodys_leftover(small, tmp_path):
    job, found = job_for(small, tmp_path / "o.gguf"), []
    run(job, Progress(lambda snapshot: found.append(find_leftover([job.output]))))
    assert set(found) == {None}


# ---------------------------------------------------------------- changed


def _touched(source):
    os.utime(source, ns=(1, 1))


def _longer(source):
    before = source.stat()
    with source.open("ab") as file:
        file.write(bytes(32))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [_touched, _longer])
def test_a_changed_source_is_refused_and_what_was_left_stays(tmp_path, change):
    source = small_model(tmp_path / "s.gguf")
    job = job_for(source, tmp_path / "o.gguf")
    stopped_after(12, job)
    change(source)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CannotResume, match="the source has changed"):
        resumed(job)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert run(job).bytes > 0


def test_a_source_rewritten_with_the_same_size_and_time_is_refused(tmp_path):
    source = write(tmp_path / "s.gguf", weights())
    job = job_for(source, tmp_path / "o.gguf")
    stopped_after(12, job)
    before, other = source.stat(), weights()
    other["blk.0.attn_k.weight"][0, 0] += 1
    write(source, other)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size
    with pytest.raises(CannotResume, match="the source has changed"):
        resumed(job)


@pytest.mark.parametrize(
    "options",
    [
        {"pure": True},
        {"fit": "reference"},
        {"overrides": (Override(tensor="output.weight", type="Q8_0"),)},
        {"target": "Q5_K_M"},
        {"override_kv": (KeyOverride(key="general.name", type="str", value="Other"),)},
    ],
)
def test_other_options_are_refused(small, tmp_path, options):
    job = job_for(small, tmp_path / "o.gguf")
    stopped_after(12, job)
    with pytest.raises(CannotResume, match="with other options") as caught:
        resumed(job.model_copy(update={"options": job.options.model_copy(update=options)}))
    assert "--resume" in caught.value.remedy


def test_other_threads_are_no_change(small, tmp_path):
    job = job_for(small, tmp_path / "o.gguf")
    whole = run(job)
    stopped_after(12, job)
    assert same(resumed(job.model_copy(update={"threads": 1})), whole)


def test_a_changed_imatrix_is_refused(small, tmp_path):
    path = tmp_path / "imatrix.gguf"
    write_imatrix(path, importance_of(weights()))
    job = job_for(small, tmp_path / "o.gguf", imatrix=str(path))
    stopped_after(12, job)
    write_imatrix(path, importance_of(weights(), seed=9))
    with pytest.raises(CannotResume, match="importance matrix has changed"):
        resumed(job)


def test_another_version_is_refused(small, tmp_path, monkeypatch):
    job = job_for(small, tmp_path / "o.gguf")
    stopped_after(12, job)
    monkeypatch.setattr("core.fingerprint._program", lambda: "another")
    with pytest.raises(CannotResume, match="another version"):
        resumed(job)


# ---------------------------------------------------------------- what the disk lost


def _half_lost(leftover):
    """As after a power cut: the journal knows of data that did not reach the disk."""
    (part,) = leftover.beginning.parts[0]
    with open(part, "r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(bytes(size - size // 2))


def _cut(leftover):
    (part,) = leftover.beginning.parts[0]
    os.truncate(part, os.path.getsize(part) // 2)


def _journal_torn(leftover):
    data = leftover.journal.read_bytes()
    leftover.journal.write_bytes(data[:-7])


def _journal_damaged(leftover):
    lines = leftover.journal.read_bytes().splitlines(keepends=True)
    lines[3] = b"\0" * len(lines[3])
    leftover.journal.write_bytes(b"".join(lines))


def _part_gone(leftover):
    os.unlink(leftover.beginning.parts[0][0])


def _journal_useless(leftover):
    leftover.journal.write_bytes(b"what is this?\n")


@pytest.mark.parametrize("loss", [_half_lost, _cut, _journal_torn, _journal_damaged, _part_gone, _journal_useless])
def test_whatever_was_lost_is_made_again(small, tmp_path, chunked, loss):
    job = job_for(small, tmp_path / "o.gguf")
    whole = run(job)
    (tmp_path / "o.gguf").unlink()
    stopped_after(25, job)
    loss(find_leftover([job.output]))
    assert same(resumed(job), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["o.gguf"]


def test_a_journal_removes_nothing_but_parts_of_its_own(small, tmp_path):
    job = job_for(small, tmp_path / "o.gguf")
    stopped_after(12, job)
    leftover = find_leftover([job.output])
    (tmp_path / "dear").write_text("x")
    first, *rest = leftover.journal.read_bytes().splitlines(keepends=True)
    value = json.loads(first) | {"parts": [[str(tmp_path / "dear")]]}
    leftover.journal.write_bytes(json.dumps(value).encode() + b"\n" + b"".join(rest))
    assert find_leftover([job.output]) is None
    run(job)
    assert (tmp_path / "dear").exists()
