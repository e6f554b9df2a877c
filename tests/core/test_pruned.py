"""Layers that are dropped, and COPY: names, types and metadata equal llama-quantize's, and the files run.

Golden: tests/golden/pruned.json, made by tests/golden/make_pruned.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.engine import run
from core.errors import CopyKeepsTypes, NoLayersLeft, NoSuchLayer
from core.formats.gguf_layout import KeyValue
from core.jobs import (
    ChatJob,
    EstimateJob,
    KeyOverride,
    Override,
    PlanJob,
    PreflightJob,
    QuantizeJob,
    QuantizeManyJob,
    QuantizeOptions,
    Sampling,
)
from core.plan import prepare
from core.sources import open_source
from core.sources.pruned import renumbered, without_layers
from tests.core import mix_models
from tests.core.small_models import metadata, write
from tests.golden import make_pruned

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "pruned.json").read_text(encoding="utf-8"))["made"]
TINY = replace(mix_models.MODELS["llama-tied"], layers=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pruned")


@pytest.fixture(scope="module")
def tiny(folder):
    return mix_models.write_model(folder / "tiny.gguf", TINY)


def keys_of(entries):
    return {entry.key: [entry.type, entry.value if isinstance(entry.value, int) else None] for entry in entries}


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['model']}-{row['target']}-{row['layers']}")
def test_names_types_and_metadata_equal_those_of_llama_quantize(folder, row):
    path, matrix = make_pruned.prepared(folder, row["model"], row["target"])
    layers = tuple(int(number) for number in row["layers"].split(",") if number)
    options = QuantizeOptions(
        target=row["target"], prune_layers=layers, imatrix=matrix if row["weighted"] else "", fit="fast"
    )
    with open_source(path) as whole:
        prepared = prepare(without_layers(whole, layers), options)
    types = mix_models.compact({tensor.name: tensor.target_type for tensor in prepared.plan.tensors})
    assert types == row["types"]
    ours, theirs = keys_of(prepared.parts[0].metadata), row["metadata"]
    assert ours.keys() == theirs.keys()
    assert {key: value for key, value in ours.items() if value != theirs[key]} == {}


def test_an_importance_matrix_is_looked_up_under_the_numbers_of_the_whole_model(folder):
    path, matrix = make_pruned.prepared(folder, "llama-tied", "Q4_K_M")
    options = QuantizeOptions(target="Q4_K_M", imatrix=matrix, prune_layers=(0, 2), exclude_weights=("blk.3.",))
    with open_source(path) as whole:
        before = prepare(whole, options.model_copy(update={"prune_layers": ()})).matrix
        after = prepare(without_layers(whole, options.prune_layers), options).matrix
    for new, old in (("blk.0.attn_q.weight", "blk.1.attn_q.weight"), ("blk.2.ffn_up.weight", "blk.4.ffn_up.weight")):
        assert np.array_equal(after.entries[new].means(1), before.entries[old].means(1))
    assert "blk.1.attn_q.weight" not in after.entries, "layer 3 was left out under its old number"
    assert len(after.entries) == len(before.entries) - 2 * 7


def test_weights_move_with_their_layers_and_the_files_run(tiny, tmp_path):
    """One pass: a quantized file and a copy without layers 0 and 2, which llama.cpp opens and runs."""
    made = [str(tmp_path / "q.gguf"), str(tmp_path / "copy.gguf")]
    options = QuantizeOptions(target="Q8_0", prune_layers=(0, 2))
    run(QuantizeManyJob(source=str(tiny), targets=("Q8_0", "COPY"), outputs=tuple(made), options=options, threads=1))
    with open_source(tiny) as before, open_source(made[1]) as after:
        assert after.value("llama.block_count") == 2
        for tensor in after.tensors:
            old = tensor.name.replace("blk.1.", "blk.3.").replace("blk.0.", "blk.1.")
            assert np.array_equal(after.raw(tensor), before.raw(before.tensor(old)))
    question = {"prompt": "abc", "sampling": Sampling(temperature=0, max_tokens=2), "context": 64, "threads": 1}
    answers = run(ChatJob(model=made[0], against=made[1], **question)).turns
    assert [turn.tokens > 0 for turn in answers] == [True, True]


def test_a_copy_of_all_is_divided_and_renamed_only(tiny, tmp_path):
    options = QuantizeOptions(
        target="copy",
        split_max_bytes=600_000,
        override_kv=(KeyOverride(key="general.name", type="str", value="Another"),),
    )
    done = run(QuantizeJob(source=str(tiny), output=str(tmp_path / "c.gguf"), options=options))
    assert done.target == "COPY"
    with open_source(tiny) as before, open_source(done.output) as after:
        assert len(after.files) > 1
        assert after.name == "Another"
        assert after.value("general.file_type") == 1, "most matrices are F16"
        assert after.tensors == before.tensors
        assert all(np.array_equal(after.raw(t), before.raw(t)) for t in after.tensors)
        pruned = without_layers(after, (0, 1, 2))
        parts = {pruned.part_of(t) for t in pruned.tensors}
        assert parts == set(range(len(parts))) < {after.part_of(t) for t in after.tensors}


FOLLOWING = [
    ("block_count", "UINT32", 2, 1),
    ("leading_dense_block_count", "UINT32", 1, 0),
    ("nextn_predict_layers", "UINT32", 1, 1),
    ("attention.head_count_kv", "ARRAY[INT32]", [1, 2], [2]),
    ("feed_forward_length", "ARRAY[INT32]", [256, 512], [512]),
    ("rope.dimension_sections", "ARRAY[INT32]", [8, 8], [8, 8]),
    ("attention.sliding_window_pattern", "ARRAY[BOOL]", [True, False], [False]),
]


@pytest.mark.parametrize(("key", "kind", "before", "after"), FOLLOWING)
def test_metadata_of_layers_follows(tmp_path, key, kind, before, after):
    keys = [entry for entry in metadata() if entry.key not in ("llama.block_count", f"llama.{key}")]
    keys += [KeyValue("llama.block_count", "UINT32", 2)] if key != "block_count" else []
    weights = {f"blk.{layer}.ffn_up.weight": np.full((2, 32), layer, np.float32) for layer in (0, 1)}
    path = write(tmp_path / "m.gguf", weights, keys=[*keys, KeyValue(f"llama.{key}", kind, before)])
    with open_source(path) as whole:
        pruned = without_layers(whole, (0,))
        assert list(np.ravel(pruned.value(f"llama.{key}"))) == list(np.ravel(after))
        assert [tensor.name for tensor in pruned.tensors] == ["blk.0.ffn_up.weight"]


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("blk.0.attn_q.weight", "blk.0.attn_q.weight"),
        ("blk.1.attn_q.weight", None),
        ("blk.12.attn_q.weight", "blk.10.attn_q.weight"),
        ("dec.blk.4.attn_q.weight", "dec.blk.3.attn_q.weight"),
        ("output.weight", "output.weight"),
    ],
)
def test_names_without_layers_1_and_5(name, new):
    assert renumbered(name, frozenset({1, 5})) == new


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [((3, 4), NoSuchLayer, "its layers are 0 to 3"), ((0, 1, 2, 3), NoLayersLeft, "all 4 are to be dropped")],
)
def test_layers_that_cannot_be_dropped(tiny, tmp_path, layers, error, words):
    options = QuantizeOptions(target="COPY", prune_layers=layers)
    for job in (
        PlanJob(source=str(tiny), options=options),
        QuantizeJob(source=str(tiny), output=str(tmp_path / "o.gguf"), options=options),
    ):
        with pytest.raises(error, match=words):
            run(job)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "asked",
    [{"pure": True}, {"output_tensor_type": "Q8_0"}, {"overrides": (Override(tensor="attn", type="Q8_0"),)}],
)
def test_a_copy_refuses_other_types(tiny, asked):
    with pytest.raises(CopyKeepsTypes):
        run(PlanJob(source=str(tiny), options=QuantizeOptions(target="COPY", **asked)))


def test_what_is_foreseen_knows_of_the_layers(tiny, tmp_path):
    options = QuantizeOptions(target="COPY", prune_layers=(1,))
    plan = run(PlanJob(source=str(tiny), options=options))
    output = str(tmp_path / "o.gguf")
    assert run(PreflightJob(source=str(tiny), output=output, options=options)).bytes == plan.bytes
    assert len(run(EstimateJob(source=str(tiny), options=options)).after.facts.layers) == 3
    assert run(QuantizeJob(source=str(tiny), output=output, options=options)).bytes == plan.bytes
