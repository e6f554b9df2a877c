"""Files appear under their name only when committed, whatever happens before."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from core.errors import Cancelled, DiskFull, OutputNotWritable
from core.formats import atomic
from core.formats.atomic import AtomicFile, check_output, remove_stale_parts

DiskUsage = namedtuple("DiskUsage", "total used free")


def write_half(target: Path, error: type[BaseException]) -> None:
    with AtomicFile(target, 1) as out:
        out.write(b"half")
        raise error


def test_the_name_appears_with_commit_only(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    with AtomicFile(target, 5) as out:
        out.write(b"hello")
        out.sync()
        assert not target.exists()
        assert out.path.read_bytes() == b"hello"  # complete on disk, so it can be verified
        out.commit()
        assert target.read_bytes() == b"hello"
    assert os.listdir(tmp_path) == ["out.gguf"]


def test_an_existing_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write_half(target, ZeroDivisionError)
    assert target.read_bytes() == b"old"
    with AtomicFile(target, 3) as out:
        out.write(b"new")
        out.commit()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, MemoryError, ValueError])
def test_nothing_is_left_when_it_does_not_end_well(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write_half(tmp_path / "out.gguf", error)
    assert os.listdir(tmp_path) == []


def test_leaving_without_commit_removes_the_part(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "out.gguf", 1) as out:
        out.write(b"half")
    assert os.listdir(tmp_path) == []


def test_too_little_room_is_known_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: DiskUsage(100, 90, 10 << 20))
    with pytest.raises(DiskFull) as caught:
        check_output(tmp_path / "out.gguf", 2 << 30)
    assert "2.0 GiB" in caught.value.line
    assert "10.0 MiB" in caught.value.line
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_on_the_way(tmp_path: Path) -> None:
    class FullDisk:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with AtomicFile(tmp_path / "out.gguf", 1) as out:
        assert out._file is not None
        out._file.close()
        out._file = FullDisk()  # type: ignore[assignment]
        with pytest.raises(DiskFull):
            out.write(b"data")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_system_says_that_the_device_is_full(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "out.gguf", 1) as out, open("/dev/full", "wb") as full:
        assert out._file is not None
        os.dup2(full.fileno(), out._file.fileno())
        with pytest.raises(DiskFull):
            out.write(bytes(1 << 20))
    assert os.listdir(tmp_path) == []


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "file").write_bytes(b"")
    cases = {
        tmp_path / "missing" / "out.gguf": "does not exist",
        tmp_path / "folder.gguf": "a folder of that name exists",
        tmp_path / "file" / "out.gguf": "does not exist",
        tmp_path / ("x" * 300): "too long",
    }
    for target, words in cases.items():
        with pytest.raises(OutputNotWritable) as caught:
            check_output(target, 1)
        assert words in caught.value.line


def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputNotWritable, match="cannot be written") as caught:
        check_output(tmp_path / "out.gguf", 1)
    assert "Permission denied" in caught.value.line


def test_check_leaves_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "out.gguf", 1)
    assert os.listdir(tmp_path) == []


KILLED = """
import sys, os
from pathlib import Path
from core.formats.atomic import AtomicFile
with AtomicFile(Path(sys.argv[1]), 1) as out:
    out.write(b"half a model")
    out.sync()
    print("written", flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_part_is_swept_by_the_next_job_and_a_living_one_is_not(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"written"
        (part,) = tmp_path.iterdir()
        assert part.name.startswith(".out.gguf.part-")
        assert remove_stale_parts(target) == []  # still being written
        assert part.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert part.exists()
    with AtomicFile(target, 1) as out:
        assert not part.exists()
        out.write(b"whole")
        out.commit()
    assert os.listdir(tmp_path) == ["out.gguf"]


def test_other_targets_parts_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / ".other.gguf.part-12345678"
    other.write_bytes(b"")
    assert remove_stale_parts(tmp_path / "out.gguf") == []
    assert other.exists()


def test_a_part_swept_before_it_was_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, calls = atomic.lock, []

    def swept_first(file: object) -> bool:
        calls.append(file)
        if len(calls) == 1:
            next(tmp_path.iterdir()).unlink()
        return lock(file)  # type: ignore[arg-type]

    monkeypatch.setattr(atomic, "lock", swept_first)
    with AtomicFile(tmp_path / "out.gguf", 1) as out:
        out.write(b"x")
        out.commit()
    assert len(calls) == 2
    assert os.listdir(tmp_path) == ["out.gguf"]
