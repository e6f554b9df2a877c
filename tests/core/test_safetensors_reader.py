"""The safetensors reader against the safetensors library, and against headers that lie or were damaged."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from core import errors
from core.formats.safetensors_reader import DTYPE_BYTES, read_checkpoint, read_header

MEMORY_LIMIT_BYTES = 300 << 20


def file_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (2, 2), offsets: Any = (0, 16)) -> dict[str, Any]:
    as_list = [list(value) if isinstance(value, tuple) else value for value in (shape, offsets)]
    return {"dtype": dtype, "shape": as_list[0], "data_offsets": as_list[1]}


HOSTILE: dict[str, tuple[bytes, type[errors.BitwrightError], str]] = {
    "empty": (b"", errors.TruncatedFile, "8 B"),
    "header of 10 GB": (file_of(b"{}", length=10 * 10**9), errors.InvalidHeader, "header of 9.3 GiB"),
    "header of 2^63": (file_of(b"{}", length=1 << 63), errors.InvalidHeader, "claims a header"),
    "header cut off": (file_of(b"{}", length=1000), errors.TruncatedFile, "incomplete"),
    "not json": (file_of(b"{nonsense"), errors.InvalidHeader, "JSON"),
    "not text": (file_of(b"\xff\xfe\xfd"), errors.InvalidHeader, "JSON"),
    "nested": (file_of(b"[" * 100_000), errors.InvalidHeader, ""),
    "a list": (file_of([]), errors.InvalidHeader, "object"),
    "key twice": (file_of(b'{"a": 1, "a": 2}'), errors.InvalidHeader, "twice"),
    "entry is a number": (file_of({"a": 5}), errors.InvalidHeader, "tensor a"),
    "dtype unknown": (file_of({"a": entry("F77")}, bytes(16)), errors.InvalidHeader, "tensor a"),
    "dtype a list": (file_of({"a": entry(["F32"])}, bytes(16)), errors.InvalidHeader, "tensor a"),
    "shape negative": (file_of({"a": entry(shape=(-2, -2))}, bytes(16)), errors.InvalidHeader, "tensor a"),
    "shape overflows": (file_of({"a": entry(shape=(1 << 40, 1 << 40))}, bytes(16)), errors.InvalidHeader, "tensor a"),
    "shape of true": (file_of({"a": entry(shape=(True, 4))}, bytes(16)), errors.InvalidHeader, "tensor a"),
    "shape contradicts": (file_of({"a": entry(shape=(3, 2))}, bytes(16)), errors.InvalidHeader, "contradicts"),
    "three offsets": (file_of({"a": entry(offsets=(0, 16, 16))}, bytes(16)), errors.InvalidHeader, "3 offsets"),
    "offsets reversed": (file_of({"a": entry(offsets=(16, 0))}, bytes(16)), errors.InvalidHeader, "tensor a"),
    "hole": (file_of({"a": entry(offsets=(4, 20))}, bytes(20)), errors.InvalidHeader, "expected"),
    "overlap": (file_of({"a": entry(), "b": entry(offsets=(8, 24))}, bytes(24)), errors.InvalidHeader, "expected"),
    "data cut off": (file_of({"a": entry()}, bytes(15)), errors.TruncatedFile, "incomplete"),
    "data left over": (file_of({"a": entry()}, bytes(17)), errors.InvalidHeader, "belong to no tensor"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused_in_words(tmp_path: Path, name: str) -> None:
    content, leaf, words = HOSTILE[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(leaf) as caught:
        read_header(path)
    assert words in caught.value.line
    assert str(path) in caught.value.line


# getrusage would count this process' memory too, which a child shares for a moment when it is started.
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_hostile_headers_take_little_memory(tmp_path: Path) -> None:
    cases = [content for content, _, _ in HOSTILE.values()]
    cases += [file_of(b"[" + b"[]," * (2_700_000) + b"[]]"), file_of(b'{"a":[' + b"{}," * 2_700_000 + b"{}]}")]
    for number, content in enumerate(cases):
        with (tmp_path / f"{number}.safetensors").open("wb") as file:
            file.write(content)
            file.truncate(max(len(content), 20 << 30))  # sparse: the claims could be true
    program = (
        "import sys; from pathlib import Path\n"
        "from core.errors import BadInput; from core.formats.safetensors_reader import read_header\n"
        "refused = 0\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try: read_header(path)\n"
        "    except BadInput: refused += 1\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(refused, int(status.split('VmHWM:')[1].split()[0]) * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    refused, peak = map(int, done.stdout.split())
    assert refused == len(cases)
    assert peak < MEMORY_LIMIT_BYTES


def test_equals_the_library(tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    arrays = {
        "b": chance.normal(size=(3, 5)).astype(np.float32),
        "a": chance.normal(size=(4,)).astype(np.float16),
        "scalar": np.array(3.5),
        "none": np.zeros((0, 7), np.int8),
    }
    path = tmp_path / "model.safetensors"
    save_file(arrays, path, metadata={"format": "pt"})
    header = read_header(path)
    content = path.read_bytes()
    with safe_open(path, "numpy") as theirs:
        assert {tensor.name for tensor in header.tensors} == set(theirs.keys())
        for tensor in header.tensors:
            part = theirs.get_slice(tensor.name)
            assert (tensor.dtype, list(tensor.shape)) == (part.get_dtype(), part.get_shape())
            assert content[tensor.offset : tensor.offset + tensor.bytes] == arrays[tensor.name].tobytes()
    assert header.file_bytes == len(content)


def test_all_dtypes_have_a_size_that_fits(tmp_path: Path) -> None:
    for dtype, n_bytes in DTYPE_BYTES.items():
        path = tmp_path / f"{dtype}.safetensors"
        path.write_bytes(file_of({"a": entry(dtype, (3,), (0, 3 * n_bytes))}, bytes(3 * n_bytes)))
        assert read_header(path).tensors[0].bytes == 3 * n_bytes


def test_fuzz(tmp_path: Path) -> None:
    chance = random.Random(11)
    right = file_of({"a": entry(), "b": entry("F16", (8,), (16, 32)), "__metadata__": {"format": "pt"}}, bytes(32))
    path = tmp_path / "fuzz.safetensors"
    path.write_bytes(right)
    assert len(read_header(path).tensors) == 2
    refused = 0
    for number in range(1000):
        content = bytearray(right)
        if number % 4 == 0:
            del content[chance.randrange(len(content)) :]
        else:
            content[chance.randrange(len(content) - 32)] = chance.randrange(256)
        path.write_bytes(content)
        try:
            read_header(path)
        except errors.BadInput:
            refused += 1
    assert refused > 500


def shard(folder: Path, name: str, tensor: str) -> None:
    save_file({tensor: np.zeros((2, 2), np.float32)}, folder / name)


def test_shards_are_found_through_the_index(tmp_path: Path) -> None:
    names = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    for name, tensor in zip(names, "ab", strict=True):
        shard(tmp_path, name, tensor)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1]}}))
    assert [file.path.name for file in read_checkpoint(tmp_path)] == names
    index.unlink()
    assert [file.path.name for file in read_checkpoint(tmp_path)] == names
    (tmp_path / names[1]).unlink()
    with pytest.raises(errors.MissingParts, match="incomplete") as caught:
        read_checkpoint(tmp_path)
    assert names[1] in caught.value.line


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "", 5, None])
def test_an_index_cannot_lead_out_of_the_folder(tmp_path: Path, name: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(errors.InvalidHeader, match="damaged"):
        read_checkpoint(tmp_path)


def test_folders_without_safetensors(tmp_path: Path) -> None:
    with pytest.raises(errors.NotAModel) as caught:
        read_checkpoint(tmp_path)
    assert "no .safetensors" in caught.value.line
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(errors.NotAModel) as caught:
        read_checkpoint(tmp_path)
    assert "can run code" in caught.value.line
