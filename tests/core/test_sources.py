"""Sources: GGUF files whole and split, Hugging Face folders as the GGUF they become, and what is refused."""

from __future__ import annotations

import json
import os
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import psutil
import pytest

from core import errors
from core.formats.gguf_layout import KeyValue
from core.formats.gguf_writer import GGUFWriter, TensorSlot, layout
from core.sources import Source, open_source
from kernels.blocks import FORMATS
from tests.core import hf_tiny
from tests.core.gguf_bytes import small

# bfloat16 keeps 8 significant bits, so rounding is off by at most half of 2^-7 of the value.
BF16_RELATIVE = 2.0**-8
SOME = ("output_norm", "blk.0.", "blk.29.")


def copy(source: Source, path: Path, tensors: slice, extra: list[KeyValue], first: bool) -> None:
    """Writes some of a source's tensors unchanged; the metadata only into the first part, as llama.cpp splits."""
    chosen = source.tensors[tensors]
    slots = [TensorSlot(tensor.name, tensor.shape, tensor.type) for tensor in chosen]
    metadata = [*(source.metadata if first else ()), *extra]
    with path.open("wb") as file:
        writer = GGUFWriter(file, metadata, layout(metadata, slots))
        for tensor in chosen:
            writer.append(tensor.name, source.raw(tensor))
        writer.finish()


def split(sample: Path, folder: Path, cuts: tuple[int, ...] = (0, 100, 101, 272)) -> list[Path]:
    count = len(cuts) - 1
    paths = [folder / f"sample-{number + 1:05}-of-{count:05}.gguf" for number in range(count)]
    with open_source(sample) as source:
        for number, path in enumerate(paths):
            keys = [
                KeyValue("split.no", "UINT16", number),
                KeyValue("split.count", "UINT16", count),
                KeyValue("split.tensors.count", "INT32", len(source.tensors)),
            ]
            copy(source, path, slice(cuts[number], cuts[number + 1]), keys, number == 0)
    return paths


def test_gguf_source_describes_the_sample(sample: Path) -> None:
    with open_source(sample) as source:
        assert (source.format, source.architecture, source.license) == ("gguf", "llama", "apache-2.0")
        assert source.name == "Smollm2 135M 8k Lc100K Mix1 Ep2"
        assert source.has_chat_template
        assert source.file_bytes == sample.stat().st_size
        assert (source.hyper.layers, source.hyper.heads, source.hyper.kv_heads) == (30, 9, 3)
        assert (source.hyper.vocabulary, source.hyper.context_length) == (49152, 8192)
        assert source.value("general.file_type") == 3
        embedding = source.tensor("token_embd.weight")
        assert (embedding.rows, embedding.row_length, embedding.row_bytes) == (49152, 576, 576 // 32 * 34)
        with pytest.raises(errors.UnknownTensor, match="has no tensor"):
            source.tensor("token_embed.weight")


def test_gguf_rows_equal_gguf_py(sample: Path) -> None:
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(sample).tensors}
    with open_source(sample) as source:
        for name in ("token_embd.weight", "blk.3.ffn_down.weight", "output_norm.weight"):
            tensor = source.tensor(name)
            first = tensor.rows * 9 // 10
            data = theirs[name].data.reshape(tensor.rows, -1)[first:]
            expected = gguf.quants.dequantize(data, theirs[name].tensor_type)
            np.testing.assert_array_equal(source.read(tensor, first), expected)
            assert source.raw(tensor, 0, 1).tobytes() == theirs[name].data.tobytes()[: tensor.row_bytes]


def test_split_files_are_one_source(sample: Path, tmp_path: Path) -> None:
    paths = split(sample, tmp_path)
    with open_source(sample) as whole, open_source(paths[1]) as parts:
        assert parts.path == paths[0]
        assert parts.files == tuple(paths)
        assert parts.metadata == whole.metadata
        assert parts.tensors == whole.tensors
        assert parts.file_bytes == sum(path.stat().st_size for path in paths)
        for tensor in whole.tensors[95:105]:
            np.testing.assert_array_equal(parts.raw(tensor), whole.raw(tensor))


def test_missing_parts_are_named(sample: Path, tmp_path: Path) -> None:
    paths = split(sample, tmp_path)
    paths[2].unlink()
    with pytest.raises(errors.MissingParts) as caught:
        open_source(paths[0])
    assert paths[2].name in caught.value.line
    renamed = paths[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(errors.MissingParts) as caught:
        open_source(renamed)
    assert "part of 3" in caught.value.line


def test_values_of_types_without_codec_are_refused_not_misread(tmp_path: Path) -> None:
    kind = next(kind for kind in gguf.GGMLQuantizationType if kind.name not in FORMATS)
    elements, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    path = tmp_path / "exotic.gguf"
    path.write_bytes(small(type_id=int(kind), dims=(elements, 3), data=bytes(3 * n_bytes)))
    with open_source(path) as source:
        (tensor,) = source.tensors
        assert not tensor.readable
        with pytest.raises(errors.UnsupportedType) as caught:
            source.read(tensor)
        assert kind.name in caught.value.line


def test_a_file_cut_off_while_open(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "shrinking.gguf"
    path.write_bytes(sample.read_bytes())
    with open_source(path) as source:
        with path.open("r+b") as file:
            file.truncate(50 << 20)
        with pytest.raises(errors.TruncatedFile):
            source.raw(source.tensors[-1])


def test_rows_only_take_what_they_need(sample: Path, hf_folder: Path) -> None:
    for path in (sample, hf_folder):
        with open_source(path) as source:
            tensor = source.tensor("token_embd.weight")
            tracemalloc.start()
            source.raw(tensor, 20_000, 100)
            source.release(tensor)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 4 * 100 * tensor.row_bytes


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="this system takes no advice")
@pytest.mark.parametrize(("available", "advised"), [(1 << 20, True), (1 << 40, False)])
def test_released_pages_go_where_the_file_exceeds_the_cache(
    sample: Path, monkeypatch: pytest.MonkeyPatch, available: int, advised: bool
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available))
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, offset, length, advice: calls.append((offset, length)))
    with open_source(sample) as source:
        source.release(source.tensor("output_norm.weight"))
    assert calls == ([(98360128, 2304)] if advised else [])


def test_reading_from_several_threads(sample: Path) -> None:
    with open_source(sample) as source:
        tensors = source.tensors[1:9]
        expected = [source.raw(tensor).tobytes() for tensor in tensors]
        found: dict[int, list[bytes]] = {}

        def read(thread: int) -> None:
            found[thread] = [source.raw(tensor).tobytes() for tensor in tensors * 5]

        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(found[number] == expected * 5 for number in range(4))


# ---------------------------------------------------------------- Hugging Face folders


def test_hf_folder_is_the_sample_in_bf16(sample: Path, hf_folder: Path) -> None:
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(sample).tensors}
    with open_source(sample) as whole, open_source(hf_folder) as source:
        assert (source.format, source.architecture, source.name) == ("safetensors", "llama", hf_folder.name)
        assert source.hyper == whole.hyper
        assert source.license == "apache-2.0"
        assert source.has_chat_template
        assert len(source.files) == 2
        assert {(tensor.name, tensor.shape) for tensor in source.tensors} == {
            (tensor.name, tensor.shape) for tensor in whole.tensors
        }
        for tensor in source.tensors:
            assert tensor.type == ("BF16" if len(tensor.shape) == 2 else "F32")
            if tensor.name.startswith(SOME):
                expected = gguf.quants.dequantize(theirs[tensor.name].data, theirs[tensor.name].tensor_type)
                expected = expected.reshape(tensor.rows, tensor.row_length)
                np.testing.assert_allclose(source.read(tensor), expected, rtol=BF16_RELATIVE, atol=0)


@pytest.mark.parametrize("name", ["blk.5.attn_q.weight", "blk.5.attn_k.weight", "blk.5.attn_v.weight"])
def test_hf_row_ranges_are_parts_of_the_whole(hf_folder: Path, name: str) -> None:
    with open_source(hf_folder) as source:
        tensor = source.tensor(name)
        whole = source.raw(tensor)
        assert whole.shape == (tensor.rows, tensor.row_bytes)
        for first, count in ((0, 1), (63, 2), (100, 92), (tensor.rows - 1, 1)):
            np.testing.assert_array_equal(source.raw(tensor, first, count), whole[first : first + count])


def test_hf_metadata_is_the_samples(sample: Path, hf_folder: Path) -> None:
    with open_source(sample) as whole, open_source(hf_folder) as source:
        ours = {entry.key: entry for entry in source.metadata}
        assert source.warnings == ()
        compared = [entry for entry in whole.metadata if entry.key.startswith(("llama.", "tokenizer."))]
        assert len(compared) == 22
        for entry in compared:
            mine = ours[entry.key]
            assert mine.type == entry.type, entry.key
            value = list(entry.value) if entry.type.startswith("ARRAY") else entry.value
            assert mine.value == (pytest.approx(value) if entry.type == "FLOAT32" else value), entry.key
        # The sample was converted before llama.cpp's converter wrote the length of a head everywhere.
        since = {"llama.attention.key_length", "llama.attention.value_length"}
        assert {key for key in ours if not key.startswith("general.")} == {entry.key for entry in compared} | since
        assert ours["general.architecture"].value == "llama"
        assert ours["general.size_label"].value == "135M"
        assert {row.key for row in source.header_rows} >= {"hidden_size", "architectures"}


def test_single_safetensors_file_stands_for_its_folder(tmp_path: Path) -> None:
    folder = hf_tiny.build(tmp_path / "tiny")
    with open_source(folder / "model.safetensors") as source:
        assert source.path == folder
    (folder / "config.json").unlink()
    with pytest.raises(errors.NotAModel) as caught:
        open_source(folder / "model.safetensors")
    assert "config.json is missing" in caught.value.line


def test_what_is_stored_is_copied_without_loss(tmp_path: Path) -> None:
    weights = hf_tiny.tensors(hf_tiny.CONFIG)
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"].astype(np.float32)
    with open_source(hf_tiny.build(tmp_path, weights=weights)) as source:
        up, down = source.tensor("blk.0.ffn_up.weight"), source.tensor("blk.0.ffn_down.weight")
        assert (up.type, down.type) == ("F32", "F16")
        assert source.raw(up).tobytes() == weights["model.layers.0.mlp.up_proj.weight"].tobytes()
        assert source.raw(down).tobytes() == weights["model.layers.0.mlp.down_proj.weight"].tobytes()


def test_what_is_no_model_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "config.json").write_text("[]")
    unknown = hf_tiny.build(tmp_path / "unknown", {"architectures": ["FalconForCausalLM"]})
    nameless = hf_tiny.build(tmp_path / "nameless", {"architectures": None})
    cases: dict[Path, tuple[type[errors.BitwrightError], str]] = {
        tmp_path / "none": (errors.SourceNotFound, "does not exist"),
        tmp_path / ("x" * 5000): (errors.SourceNotFound, "does not exist"),
        tmp_path / "text.gguf": (errors.NotAModel, "letters GGUF"),
        tmp_path / "empty": (errors.NotAModel, "config.json is missing"),
        tmp_path / "broken": (errors.InvalidHeader, "JSON"),
        tmp_path / "list": (errors.NotAModel, "JSON object"),
        unknown: (errors.UnknownArchitecture, "FalconForCausalLM"),
        Path(os.devnull): (errors.NotAModel, "neither a file nor a folder"),
        nameless: (errors.UnknownArchitecture, "llama (by model_type)"),
    }
    for path, (leaf, words) in cases.items():
        with pytest.raises(leaf) as caught:
            open_source(path)
        assert words in caught.value.line, path
        assert caught.value.exit_code == errors.BAD_INPUT
    assert "LlamaForCausalLM" in str(errors.UnknownArchitecture("x", "y", ["LlamaForCausalLM"]).why)


def test_fuzz_config(tmp_path: Path) -> None:
    """config.json with any entry replaced by nonsense is read or refused in words."""
    folder = hf_tiny.build(tmp_path)
    nonsense = [None, -1, 0, 1 << 70, 1.5, float("1e400"), "text", [], {}, [1], {"a": 1}, True]
    for key in hf_tiny.CONFIG:
        for value in nonsense:
            (folder / "config.json").write_text(json.dumps({**hf_tiny.CONFIG, key: value}))
            try:
                with open_source(folder) as source:
                    assert source.metadata
            except errors.BadInput as error:
                text = error.line
            else:
                text = ""
            assert "\n" not in text
