"""The GGUF reader against gguf-py on the sample, and against headers that lie, are cut off, or were damaged."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import gguf
import pytest

from core import errors
from core.formats.gguf_reader import MoreNeeded, parse_header, read_header
from core.formats.newer_types import teach_newer_types
from kernels.blocks import FORMATS
from tests.core.gguf_bytes import ARCHITECTURE, key, small, string, tensor
from tests.core.gguf_bytes import gguf as build

MEMORY_LIMIT_BYTES = 300 << 20
ARCH = key(*ARCHITECTURE)
U64 = "<Q"


def array(element: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<IQ", element, count) + data


# What a damaged or hostile file may claim, and what the user is told.
HOSTILE: dict[str, tuple[bytes, type[errors.BitwrightError], str]] = {
    "empty": (b"", errors.NotAModel, "empty"),
    "not gguf": (b"PK\x03\x04" + bytes(100), errors.NotAModel, "letters GGUF"),
    "only magic": (b"GGUF", errors.TruncatedFile, "24 B"),
    "version 1": (build([], [], version=1), errors.NotAModel, "version 1"),
    "version 9": (build([], [], version=9), errors.InvalidHeader, "version 9"),
    "big-endian": (b"GGUF" + struct.pack(">I", 3) + bytes(64), errors.NotAModel, "big-endian"),
    "2^60 tensors": (build([], [], n_tensors=1 << 60), errors.InvalidHeader, str(1 << 60)),
    "more tensors than fit": (build([], [], n_tensors=200_000), errors.TruncatedFile, "incomplete"),
    "2^63 keys": (build([], [], n_keys=1 << 63), errors.InvalidHeader, "metadata keys"),
    "key length 2^63": (build([string(b"", 1 << 63)], [], bytes(64)), errors.InvalidHeader, "claims"),
    "value length 2^63": (build([key("k", 8, struct.pack(U64, 1 << 63))], []), errors.InvalidHeader, "metadata k"),
    "value longer than file": (build([key("k", 8, struct.pack(U64, 999))], []), errors.TruncatedFile, "incomplete"),
    "array of 2^62": (build([key("k", 9, array(4, 1 << 62))], []), errors.InvalidHeader, "metadata k"),
    "strings of 2^61": (build([key("k", 9, array(8, 1 << 61))], []), errors.InvalidHeader, "metadata k"),
    "string in array too long": (
        build([key("k", 9, array(8, 2, string(b"a") + string(b"", 1 << 62)))], []),
        errors.InvalidHeader,
        "metadata k",
    ),
    "array cut off": (build([key("k", 9, array(8, 3, string(b"abc")))], []), errors.TruncatedFile, "incomplete"),
    "nested arrays": (build([key("k", 9, array(9, 1, array(4, 0)))], []), errors.InvalidHeader, "array of arrays"),
    "array of unknown": (build([key("k", 9, array(77, 1))], []), errors.InvalidHeader, "type 77"),
    "unknown value type": (build([key("k", 13, b"")], [], bytes(64)), errors.InvalidHeader, "value type 13"),
    "key is not text": (build([string(b"\xff\xfe") + struct.pack("<IB", 0, 1)], []), errors.InvalidHeader, "text"),
    "key twice": (build([ARCH, ARCH], []), errors.InvalidHeader, "general.architecture occurs twice"),
    "alignment 0": (build([key("general.alignment", 4, bytes(4))], []), errors.InvalidHeader, "power of two"),
    "alignment 48": (
        build([key("general.alignment", 4, struct.pack("<I", 48))], []),
        errors.InvalidHeader,
        "power of two",
    ),
    "tensor twice": (
        build([ARCH], [tensor("a", (8,), 0, 0), tensor("a", (8,), 0, 32)], bytes(64)),
        errors.InvalidHeader,
        "tensor a occurs twice",
    ),
    "dimensions 2^31": (
        build([ARCH], [string(b"a") + struct.pack("<I", 1 << 31)], bytes(64)),
        errors.InvalidHeader,
        "dimensions",
    ),
    "shape product overflows": (small(dims=(1 << 63, 1 << 63)), errors.InvalidHeader, "impossible shape"),
    "no elements": (small(dims=(0, 32)), errors.InvalidHeader, "impossible shape"),
    "blocks do not divide": (small(type_id=12, dims=(100,)), errors.InvalidHeader, "multiple of 256"),
    "offset not aligned": (build([ARCH], [tensor("a", (8,), 0, 7)], bytes(64)), errors.InvalidHeader, "not aligned"),
    "offset far away": (build([ARCH], [tensor("a", (8,), 0, 1 << 62)], bytes(64)), errors.InvalidHeader, "expected"),
    "overlap": (
        build([ARCH], [tensor("a", (64,), 0, 0), tensor("b", (64,), 0, 0)], bytes(512)),
        errors.InvalidHeader,
        "expected",
    ),
    "data cut off": (small(data=bytes(255)), errors.TruncatedFile, "incomplete"),
    "unknown tensor type": (small(type_id=1234), errors.UnsupportedType, "number 1234"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused_in_words(tmp_path: Path, name: str) -> None:
    content, leaf, words = HOSTILE[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(leaf) as caught:
        read_header(path)
    assert words in caught.value.line
    assert str(path) in caught.value.line


# getrusage would count this process' memory too, which a child shares for a moment when it is started.
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_hostile_headers_take_little_memory(tmp_path: Path) -> None:
    # Sparse files: large enough that the claims could be true, so that only the limits refuse them.
    for number, (content, _, _) in enumerate(HOSTILE.values()):
        with (tmp_path / f"{number}.gguf").open("wb") as file:
            file.write(content)
            if content:
                file.truncate(max(len(content), 1 << 40))
    program = (
        "import json, sys; from pathlib import Path\n"
        "from core.errors import BitwrightError; from core.formats.gguf_reader import read_header\n"
        "kinds = []\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try: read_header(path); kinds.append('read')\n"
        "    except BitwrightError as error: kinds.append(type(error).__name__)\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(json.dumps([kinds, int(status.split('VmHWM:')[1].split()[0]) * 1024]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    kinds, peak = json.loads(done.stdout)
    assert len(kinds) == len(HOSTILE)
    assert kinds.count("InvalidHeader") > len(HOSTILE) / 2
    assert peak < MEMORY_LIMIT_BYTES


def test_sample_equals_gguf_py(sample: Path) -> None:
    header, reader = read_header(sample), gguf.GGUFReader(sample)
    assert header.data_offset == reader.data_offset
    for entry in header.metadata:
        value = list(entry.value) if entry.type.startswith("ARRAY") else entry.value
        assert value == reader.fields[entry.key].contents(), entry.key
        names = [kind.name for kind in reader.fields[entry.key].types]
        assert entry.type == (f"ARRAY[{names[1]}]" if len(names) == 2 else names[0])
    assert [entry.name for entry in header.tensors] == [tensor.name for tensor in reader.tensors]
    for ours, theirs in zip(header.tensors, reader.tensors, strict=True):
        assert ours.shape == tuple(int(size) for size in theirs.shape)[::-1]
        assert (ours.type, ours.offset, ours.bytes) == (theirs.tensor_type.name, theirs.data_offset, theirs.n_bytes)


def test_array_heads_do_not_decode_the_rest(sample: Path) -> None:
    tokens = next(entry.value for entry in read_header(sample).metadata if entry.key == "tokenizer.ggml.tokens")
    assert tokens.head(2) == ("<|endoftext|>", "<|im_start|>")
    assert "values" not in vars(tokens)
    assert len(tokens) == 49152
    assert tokens[49151] == tokens.values[-1]


def test_large_vocabulary_parses_fast(tmp_path: Path) -> None:
    words = b"".join(string(b"token%d" % number) for number in range(150_000))
    path = tmp_path / "large.gguf"
    path.write_bytes(build([ARCH, key("tokenizer.ggml.tokens", 9, array(8, 150_000, words))], []))
    durations = []
    for _ in range(3):
        began = time.perf_counter()
        read_header(path)
        durations.append(time.perf_counter() - began)
    assert min(durations) < 0.3


@pytest.mark.parametrize("kind", [kind for kind in gguf.GGMLQuantizationType if kind.name not in FORMATS])
def test_types_without_codec_are_listed_by_name_and_size(tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
    elements, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    path = tmp_path / "exotic.gguf"
    path.write_bytes(small(type_id=int(kind), dims=(elements, 3), data=bytes(n_bytes * 3)))
    (entry,) = read_header(path).tensors
    assert (entry.type, entry.shape, entry.bytes) == (kind.name, (3, elements), 3 * n_bytes)


def test_own_table_agrees_with_gguf_py() -> None:
    teach_newer_types()  # another test of the same process may have done it
    for row in FORMATS.values():
        assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[row.name]] == (row.elements, row.bytes)
        assert gguf.GGMLQuantizationType[row.name] == row.type_id


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.SourceNotFound):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(errors.ReadFailed):
        read_header(tmp_path)


@pytest.fixture(scope="module")
def short_sample(sample: Path) -> bytes:
    """The sample's header with its long arrays cut to a few elements, so that damage hits something that matters."""
    header = read_header(sample)
    keys = []
    for entry in header.metadata:
        if entry.type == "ARRAY[STRING]":
            few = entry.value.head(3)
            keys.append(key(entry.key, 9, array(8, len(few), b"".join(string(text.encode()) for text in few))))
        elif entry.type == "ARRAY[INT32]":
            keys.append(key(entry.key, 9, array(5, 3, struct.pack("<3i", *entry.value.head(3)))))
        else:
            type_id = gguf.GGUFValueType[entry.type].value
            assert entry.packed is not None
            keys.append(key(entry.key, type_id, entry.packed))
    infos = [tensor(f"blk.{number}.weight", (32, 2), 2, 64 * number) for number in range(20)]
    return build(keys, infos, bytes(64 * 20))


def survives(path: Path, content: bytes) -> bool:
    """Whether the file is read; any exception that is no leaf of core.errors fails the test."""
    path.write_bytes(content)
    try:
        read_header(path)
    except errors.BadInput:
        return False
    return True


def test_fuzz_truncation(tmp_path: Path, short_sample: bytes) -> None:
    path = tmp_path / "cut.gguf"
    assert survives(path, short_sample)
    for length in range(0, len(short_sample) - 64, 7):
        assert not survives(path, short_sample[:length]), length


def test_fuzz_flipped_bytes(tmp_path: Path, short_sample: bytes) -> None:
    chance = random.Random(20261122)
    path = tmp_path / "flipped.gguf"
    refused = 0
    for _ in range(3000):
        content = bytearray(short_sample)
        for _ in range(chance.choice((1, 1, 2, 8))):
            content[chance.randrange(len(content))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        refused += not survives(path, bytes(content))
    assert refused > 500


def test_fuzz_real_header(tmp_path: Path, sample: Path) -> None:
    """The real header, long arrays included: cut at many places, then damaged where lengths and counts stand."""
    with sample.open("rb") as file:
        head = file.read(read_header(sample).data_offset)
    path = tmp_path / "cut.gguf"
    chance = random.Random(7)
    for _ in range(40):
        assert not survives(path, head[: chance.randrange(len(head))])
    for _ in range(60):
        content = bytearray(head)
        content[chance.randrange(len(head))] ^= 1 << chance.randrange(8)
        assert not survives(path, bytes(content))  # the data is not there in any case


def test_a_header_can_be_read_from_the_files_beginning(sample: Path) -> None:
    """As it comes over a network, in growing ranges: nothing is guessed from a part, and the whole is the same."""
    whole, data = read_header(sample), sample.read_bytes()
    lengths = [64]
    while lengths[-1] < len(data) / 4:
        try:
            parsed = parse_header(sample, data[: lengths[-1]], len(data))
            break
        except MoreNeeded as error:
            lengths.append(max(2 * lengths[-1], error.n_bytes))
    assert 5 < len(lengths) < 24
    assert (parsed.tensors, parsed.data_offset) == (whole.tensors, whole.data_offset)
    assert [entry.key for entry in parsed.metadata] == [entry.key for entry in whole.metadata]
    with pytest.raises(errors.TruncatedFile):
        parse_header(sample, data[:2000], 2000)
