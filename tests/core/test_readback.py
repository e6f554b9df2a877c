"""What is read back while a file grows is compared with what was written, and the first difference is named."""

from __future__ import annotations

import hashlib
import time

import pytest

from core import readback
from core.errors import DiskFull, ReadFailed, VerificationFailed
from core.readback import Mark, ReadBack

PIECES = {"the header": b"head" * 5, "tensor a": bytes(range(256)) * 30, "tensor b": b"", "tensor c": b"c" * 999}
SIZE = sum(map(len, PIECES.values()))


def marks():
    digest, position = hashlib.sha256(), 0
    for name, data in PIECES.items():
        digest.update(data)
        position += len(data)
        yield Mark(position, digest.digest(), name)


def followed(path, written, sync=lambda: None):
    """Writes piece after piece with a follower behind; how often it synced."""
    syncs = []

    def counted():
        syncs.append(1)
        sync()

    with path.open("wb", buffering=0) as file, ReadBack(path, counted, SIZE) as behind:
        for mark, data in zip(marks(), written.values(), strict=True):
            file.write(data)
            behind.wrote(mark)
        end = time.monotonic() + 20
        while not behind.wait(0.01):
            assert time.monotonic() < end
        assert behind.done == SIZE
    return len(syncs)


@pytest.mark.parametrize("stretch", [1, 5000, 1 << 20])
def test_a_file_in_order_is_synced_in_stretches(tmp_path, monkeypatch, stretch):
    monkeypatch.setattr(readback, "STRETCH_BYTES", stretch)
    syncs = followed(tmp_path / "f", PIECES)
    assert syncs == {1: 3, 5000: 2, 1 << 20: 1}[stretch]


@pytest.mark.parametrize("name", ["the header", "tensor a", "tensor c"])
def test_the_first_difference_is_named(tmp_path, name):
    damaged = {key: data[:-1] + b"!" if key in (name, "tensor c") else data for key, data in PIECES.items()}
    with pytest.raises(VerificationFailed, match=f"the data of {name} differ"):
        followed(tmp_path / "f", damaged)


def test_a_file_that_ends_early(tmp_path):
    with pytest.raises(VerificationFailed, match="tensor c"):
        followed(tmp_path / "f", PIECES | {"tensor c": b"c"})


def test_errors_of_the_disk_are_passed_on(tmp_path):
    def full():
        raise DiskFull("f", 2, 1)

    def broken():
        raise OSError(5, "Input/output error")

    with pytest.raises(DiskFull):
        followed(tmp_path / "f", PIECES, full)
    with pytest.raises(ReadFailed, match="Input/output error"):
        followed(tmp_path / "f", PIECES, broken)


def test_leaving_early_ends_the_thread(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(PIECES["the header"])
    with ReadBack(path, lambda: None, SIZE) as behind:
        behind.wrote(next(marks()))
        assert not behind.wait(0.01)
    assert not behind._thread.is_alive()


def test_what_was_compared_before_is_not_read_again(tmp_path):
    path, (first, *rest) = tmp_path / "f", list(marks())
    path.write_bytes(b"".join(PIECES.values()))
    with ReadBack(path, lambda: None, SIZE, (first.position, hashlib.sha256(PIECES["the header"]))) as behind:
        for mark in rest:
            behind.wrote(mark)
        while not behind.wait(0.01):
            pass
    with ReadBack(path, lambda: None, SIZE, (SIZE, hashlib.sha256())) as behind:
        assert behind.wait(0)
