"""Options of a quantization: choices by name and pattern, importance, metadata, strictness, several targets."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from core.engine import run
from core.errors import (
    FallbackRefused,
    IllegalType,
    ImatrixDoesNotFit,
    ImatrixNeeded,
    InvalidMetadata,
    InvalidPattern,
    NotInImatrix,
    OutputNotWritable,
    TensorIsKept,
    UnknownTensor,
    UnknownType,
    UnsupportedType,
)
from core.formats.gguf_layout import KeyValue
from core.imatrix import ImportanceMatrix, write_imatrix
from core.jobs import KeyOverride, Override, PlanJob, QuantizeJob, QuantizeManyJob, QuantizeOptions
from kernels import dispatch
from kernels.codecs import FITS
from tests.core.small_models import (
    importance_of,
    metadata,
    moe_metadata,
    moe_weights,
    small_model,
    weights,
    write,
)


def types_of(source, target="Q4_K_M", **options):
    plan = run(PlanJob(source=str(source), options=QuantizeOptions(target=target, **options)))
    return {row.name: row.target_type for row in plan.tensors}


def choices(*pairs):
    return tuple(Override(tensor=name, type=type_name) for name, type_name in pairs)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("options") / "small.gguf")


@pytest.fixture(scope="module")
def moe(tmp_path_factory):
    return write(tmp_path_factory.mktemp("options") / "moe.gguf", moe_weights(), keys=moe_metadata())


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    tensors = {name: x for name, x in weights().items() if name != "output.weight"}
    return write(tmp_path_factory.mktemp("options") / "tied.gguf", tensors)


# ---------------------------------------------------------------- choices of types


def test_a_pattern_finds_parts_of_names_and_leaves_the_rest(small):
    usual = types_of(small)
    chosen = types_of(small, overrides=choices(("ffn_(up|gate)", "q8_0")))
    for name, type_name in chosen.items():
        assert type_name == ("Q8_0" if "ffn_up" in name or "ffn_gate" in name else usual[name])


def test_the_first_pattern_counts_and_an_exact_name_counts_more(small):
    chosen = types_of(
        small, overrides=choices(("ffn_up", "Q5_0"), (r"blk\.0\.", "Q8_0"), ("blk.0.ffn_up.weight", "F16"))
    )
    assert chosen["blk.0.ffn_up.weight"] == "F16"
    assert chosen["blk.1.ffn_up.weight"] == "Q5_0"
    assert chosen["blk.0.attn_q.weight"] == "Q8_0"
    assert chosen["blk.0.attn_norm.weight"] == "F32"


def test_an_exact_name_is_no_pattern(small):
    named = types_of(small, overrides=choices(("output.weight", "Q8_0")))
    assert named["output.weight"] == "Q8_0"
    assert named["blk.0.attn_output.weight"] == types_of(small)["blk.0.attn_output.weight"]


def test_output_and_embedding_have_options_of_their_own(small, tied):
    chosen = types_of(
        small, output_tensor_type="Q8_0", token_embedding_type="q5_1", overrides=choices(("weight", "F16"))
    )
    assert (chosen["output.weight"], chosen["token_embd.weight"]) == ("Q8_0", "Q5_1")
    assert chosen["blk.0.attn_q.weight"] == "F16"
    # A model without an output layer uses the embedding as one.
    assert types_of(tied, output_tensor_type="Q8_0")["token_embd.weight"] == "Q8_0"
    both = types_of(tied, output_tensor_type="Q8_0", token_embedding_type="Q5_1")
    assert both["token_embd.weight"] == "Q5_1"


def test_the_output_layer_can_be_left_as_it_is(small, tied):
    assert types_of(small, leave_output_tensor=True)["output.weight"] == "F32"
    plan = run(PlanJob(source=str(tied), options=QuantizeOptions(target="Q8_0", leave_output_tensor=True)))
    assert any("no output layer of its own" in warning for warning in plan.warnings)


def test_a_pattern_falls_back_where_a_name_is_refused(tmp_path):
    narrow = small_model(tmp_path / "narrow.gguf", width=288)
    assert types_of(narrow, overrides=choices(("ffn_up", "Q4_K")))["blk.0.ffn_up.weight"] == "Q5_0"
    with pytest.raises(IllegalType):
        types_of(narrow, overrides=choices(("blk.0.ffn_up.weight", "Q4_K")))
    with pytest.raises(IllegalType):
        types_of(narrow, output_tensor_type="Q6_K")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"overrides": choices(("ffn_(up", "Q8_0"))}, InvalidPattern),
        ({"overrides": choices(("ffn_upp", "Q8_0"))}, UnknownTensor),
        ({"overrides": choices(("ffn_up", "Q9_0"))}, UnknownType),
        ({"output_tensor_type": "Q9_0"}, UnknownType),
        ({"token_embedding_type": "Q4_K_M"}, UnknownType),
        ({"overrides": choices(("blk.0.attn_norm.weight", "Q8_0"))}, TensorIsKept),
    ],
)
def test_choices_that_cannot_be_are_refused(small, options, error):
    with pytest.raises(error):
        types_of(small, **options)


def test_strict_refuses_every_fallback(tmp_path, small):
    types_of(small, strict=True)
    narrow = small_model(tmp_path / "narrow.gguf", width=288)
    with pytest.raises(FallbackRefused, match=r"rows of 288 are not a multiple of 256"):
        types_of(narrow, strict=True)
    types_of(narrow, "Q8_0", strict=True)


# ---------------------------------------------------------------- importance


@pytest.fixture(scope="module")
def imatrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("options") / "small.imatrix.gguf"
    write_imatrix(path, importance_of(weights()))
    return str(path)


@pytest.fixture(scope="module")
def moe_imatrix(tmp_path_factory):
    path = tmp_path_factory.mktemp("options") / "moe.imatrix.gguf"
    write_imatrix(path, importance_of(moe_weights()))
    return str(path)


def quantized(source, folder, target, **options):
    job = QuantizeJob(
        source=str(source), output=str(folder / "o.gguf"), options=QuantizeOptions(target=target, **options)
    )
    run(job)
    return {tensor.name: tensor for tensor in gguf.GGUFReader(folder / "o.gguf").tensors}


@pytest.mark.parametrize("target", ["Q4_K_S", "Q4_0"])
def test_importance_reaches_the_encoder(small, imatrix, tmp_path, target):
    written = quantized(small, tmp_path, target, imatrix=imatrix)
    entries = importance_of(weights()).entries
    for name, x in weights().items():
        if x.ndim < 2:
            continue
        means = entries[name].means(1)[0] if name in entries else None
        expected = dispatch.encode(written[name].tensor_type.name, x, importance=means)
        assert np.array_equal(written[name].data, expected), name


@pytest.mark.parametrize("fit", FITS)
def test_the_level_of_search_reaches_the_encoder_and_the_metadata(small, imatrix, tmp_path, fit):
    written = quantized(small, tmp_path, "Q4_K_S", imatrix=imatrix, fit=fit)
    entries = importance_of(weights()).entries
    for name, x in weights().items():
        if x.ndim < 2:
            continue
        means = entries[name].means(1)[0] if name in entries else None
        expected = dispatch.encode(written[name].tensor_type.name, x, importance=means, fit=fit)
        assert np.array_equal(written[name].data, expected), name
    said = gguf.GGUFReader(tmp_path / "o.gguf").fields.get("quantize.fit")
    assert (said.contents() if said else "fast") == fit
    plan = run(PlanJob(source=str(small), options=QuantizeOptions(target="Q4_K_S", fit=fit)))
    assert plan.fit == fit


def test_every_expert_has_its_own_importance(moe, moe_imatrix, tmp_path, monkeypatch):
    monkeypatch.setattr("core.plan.CHUNK_ELEMENTS", 1500)
    written = quantized(moe, tmp_path, "Q4_K_S", imatrix=moe_imatrix)
    entries = importance_of(moe_weights()).entries
    name = "blk.0.ffn_down_exps.weight"
    means, x = entries[name].means(4), moe_weights()[name]
    pooled = entries[name].sums.sum(0) / entries[name].counts.sum()
    assert np.allclose(means[3], pooled)  # nobody asked this expert
    for expert in range(4):
        expected = dispatch.encode(written[name].tensor_type.name, x[expert], importance=means[expert])
        assert np.array_equal(written[name].data.reshape(4, 16, -1)[expert], expected), expert


def test_importance_changes_types_where_llama_quantize_does(tmp_path):
    source = small_model(tmp_path / "s.gguf", layers=8)
    path = tmp_path / "i.gguf"
    write_imatrix(path, importance_of(weights(layers=8)))
    assert types_of(source, "Q4_0")["blk.0.ffn_down.weight"] == "Q4_0"
    assert types_of(source, "Q4_0", imatrix=str(path))["blk.0.ffn_down.weight"] == "Q4_1"
    # Everything excluded is the same as no matrix.
    assert types_of(source, "Q4_0", imatrix=str(path), exclude_weights=("blk",))["blk.0.ffn_down.weight"] == "Q4_0"


def test_parts_of_names_choose_what_it_is_used_for(small, imatrix):
    def weighted(**options):
        plan = run(PlanJob(source=str(small), options=QuantizeOptions(target="Q4_K_M", imatrix=imatrix, **options)))
        return {row.name for row in plan.tensors if row.weighted}

    everything = weighted()
    assert everything == importance_of(weights()).entries.keys()
    assert weighted(include_weights=("ffn_",)) == {name for name in everything if "ffn_" in name}
    assert weighted(exclude_weights=("ffn_",)) == {name for name in everything if "ffn_" not in name}


def test_the_plan_names_what_the_matrix_does_not_know(small, imatrix):
    options = QuantizeOptions(target="Q4_K_M", imatrix=imatrix, include_weights=("ffn_",))
    plan = run(PlanJob(source=str(small), options=options))
    assert any("says nothing of 10 of 16 tensors: token_embd.weight, " in warning for warning in plan.warnings)


def test_what_was_used_is_written_down(small, imatrix, tmp_path):
    quantized(small, tmp_path, "Q4_K_M", imatrix=imatrix)
    fields = gguf.GGUFReader(tmp_path / "o.gguf").fields
    said = {key: field.contents() for key, field in fields.items() if key.startswith("quantize.")}
    assert said == {
        "quantize.imatrix.file": "small.imatrix.gguf",
        "quantize.imatrix.dataset": "prose.txt",
        "quantize.imatrix.entries_count": 14,
        "quantize.imatrix.chunks_count": 7,
    }


def test_types_that_need_importance_are_refused_without(small, imatrix):
    from kernels.blocks import FORMATS

    if "IQ2_XXS" not in FORMATS:
        pytest.skip("needs a type that cannot be made without importance")
    low = choices(("ffn_up", "IQ2_XXS"))
    with pytest.raises(ImatrixNeeded, match=r"blk\.0\.ffn_up\.weight"):
        types_of(small, overrides=low)
    with pytest.raises(NotInImatrix, match=r"blk\.0\.ffn_up\.weight"):
        types_of(small, overrides=low, imatrix=imatrix, exclude_weights=("ffn_up",))
    assert types_of(small, overrides=low, imatrix=imatrix)["blk.0.ffn_up.weight"] == "IQ2_XXS"


def test_a_matrix_of_another_model_is_refused(small, moe, imatrix, tmp_path):
    path = tmp_path / "other.gguf"
    write_imatrix(path, importance_of(weights(width=512)))
    with pytest.raises(ImatrixDoesNotFit, match="needs 256 numbers and has 512"):
        types_of(small, imatrix=str(path))
    entries = {f"other.{name}": entry for name, entry in importance_of(weights()).entries.items()}
    write_imatrix(path, ImportanceMatrix(entries, ("a",)))
    with pytest.raises(ImatrixDoesNotFit, match="none of its 14 entries"):
        types_of(small, imatrix=str(path))


def test_an_embedding_of_another_shape_is_passed_over(small, tmp_path):
    matrix = importance_of(weights())
    entries = {**matrix.entries, "token_embd.weight": importance_of(weights(width=512)).entries["blk.0.ffn_up.weight"]}
    write_imatrix(tmp_path / "i.gguf", ImportanceMatrix(entries, ("a",)))
    assert types_of(small, imatrix=str(tmp_path / "i.gguf")) == types_of(small)


# ---------------------------------------------------------------- metadata


def set_keys(*rows):
    return tuple(KeyOverride(key=key, type=kind, value=value) for key, kind, value in rows)


def test_metadata_is_set_in_its_place_and_added_at_the_end(small, tmp_path):
    keys = set_keys(
        ("general.name", "str", "Renamed: twice"),
        ("llama.block_count", "int", "2"),
        ("made.up", "float", "0.5"),
        ("made.flag", "bool", "true"),
        ("made.count", "int", "7"),
    )
    quantized(small, tmp_path, "Q8_0", override_kv=keys)
    fields = gguf.GGUFReader(tmp_path / "o.gguf").fields
    assert [fields[key].contents() for key, *_ in ((k.key,) for k in keys)] == ["Renamed: twice", 2, 0.5, True, 7]
    assert fields["made.count"].types == [gguf.GGUFValueType.UINT32]
    before = [key for key in gguf.GGUFReader(small).fields if not key.startswith("GGUF.")]
    after = [key for key in fields if not key.startswith("GGUF.")]
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    "row",
    [
        ("made.up", "int", "seven"),
        ("made.up", "int", "-7"),
        ("made.up", "float", "much"),
        ("made.up", "bool", "yes"),
        ("llama.block_count", "int", "99999999999"),
        ("general.alignment", "int", "33"),
        ("general.alignment", "int", "4"),
    ],
)
def test_metadata_that_cannot_be_is_refused(small, row):
    with pytest.raises(InvalidMetadata, match=row[0].replace(".", r"\.")):
        types_of(small, override_kv=set_keys(row))


def test_another_alignment_makes_a_file_that_is_in_order(small, tmp_path):
    written = quantized(small, tmp_path, "Q8_0", override_kv=set_keys(("general.alignment", "int", "64")))
    assert all(tensor.data_offset % 64 == 0 for tensor in written.values())


# ---------------------------------------------------------------- tensors that cannot be read


def test_tensors_of_other_types_are_copied_but_never_quantized(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "s.gguf", "llama")
    for entry in metadata()[2:5]:
        writer.add_uint32(entry.key, entry.value)
    table = np.arange(64, dtype=np.int32).reshape(2, 32)
    writer.add_tensor("blk.0.ffn_gate_tid2eid.weight", table)
    writer.add_tensor("blk.0.ffn_up.weight", weights()["blk.0.ffn_up.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    written = quantized(tmp_path / "s.gguf", tmp_path, "Q8_0")
    assert np.array_equal(written["blk.0.ffn_gate_tid2eid.weight"].data, table)
    assert written["blk.0.ffn_up.weight"].tensor_type.name == "Q8_0"


def test_a_matrix_of_an_unknown_type_cannot_be_quantized(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "s.gguf", "llama")
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((2, 32), np.int32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedType, match="I32"):
        types_of(tmp_path / "s.gguf", "Q8_0")


# ---------------------------------------------------------------- several targets


def test_several_targets_are_what_each_alone_would_be(small, imatrix, tmp_path):
    targets = ("Q4_K_M", "Q8_0", "F16")
    options = QuantizeOptions(target="Q4_K_M", imatrix=imatrix)
    outputs = tuple(str(tmp_path / f"many-{target}.gguf") for target in targets)
    many = run(QuantizeManyJob(source=str(small), targets=targets, outputs=outputs, options=options))
    for target, output, result in zip(targets, outputs, many.results, strict=True):
        alone = run(
            QuantizeJob(
                source=str(small),
                output=str(tmp_path / "alone.gguf"),
                options=options.model_copy(update={"target": target}),
            )
        )
        assert (result.sha256, result.output, result.target) == (alone.sha256, output, target)
        assert result.total == alone.total


def test_the_source_is_read_once(small, tmp_path, monkeypatch):
    from core.sources.gguf_source import GGUFSource

    read = []
    raw = GGUFSource.raw

    def counting(self, tensor, *part):
        read.append((tensor.name, *part))
        return raw(self, tensor, *part)

    monkeypatch.setattr(GGUFSource, "raw", counting)
    # A plan looks at a few rows, which in a tensor as small as these would be all of them.
    monkeypatch.setattr("core.plan.with_lattice", lambda row, *_: row)
    outputs = (str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf"))
    job = QuantizeManyJob(
        source=str(small), targets=("Q8_0", "Q4_0"), outputs=outputs, options=QuantizeOptions(target="Q8_0")
    )
    run(job)
    assert len(read) == len(set(read)) == len(gguf.GGUFReader(small).tensors)


def test_one_name_for_two_targets_is_refused(small, tmp_path):
    job = QuantizeManyJob(
        source=str(small),
        targets=("Q8_0", "Q4_0"),
        outputs=(str(tmp_path / "a.gguf"),) * 2,
        options=QuantizeOptions(target="Q8_0"),
    )
    with pytest.raises(OutputNotWritable, match="two of the targets"):
        run(job)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_fails_leaves_no_other_behind(tmp_path):
    tensors = weights()
    tensors["blk.1.ffn_down.weight"][3, 7] = 3e9
    source = write(tmp_path / "s.gguf", tensors, keys=[*metadata(), KeyValue("made.up", "FLOAT64", 0.5)])
    job = QuantizeManyJob(
        source=str(source),
        targets=("BF16", "F16"),
        outputs=(str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf")),
        options=QuantizeOptions(target="BF16"),
    )
    with pytest.raises(Exception, match="cannot be stored as F16"):
        run(job)
    assert [path.name for path in tmp_path.iterdir()] == ["s.gguf"]
