"""Plans: exact sizes, overrides, refusals, warnings, and nothing computed."""

from __future__ import annotations

import pytest

from core.catalog import MIXES
from core.engine import run
from core.errors import AlreadyQuantized, IllegalType, TensorIsKept, UnknownTensor, UnknownType
from core.imatrix import write_imatrix
from core.jobs import Override, PlanJob, QuantizeJob, QuantizeOptions
from core.plan import make_plan, refuse_quantized
from core.sources import open_source
from tests.core.small_models import imatrix_for, importance_of, metadata, small_model, weights, write


def plan_of(path, target="Q4_K_M", **options):
    return run(PlanJob(source=str(path), options=QuantizeOptions(target=target, **options)))


def row(plan, name):
    return next(row for row in plan.tensors if row.name == name)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("plan") / "small.gguf")


@pytest.mark.parametrize("mix", [mix.name for mix in MIXES])
@pytest.mark.parametrize("width", [256, 288])
def test_size_is_exact_to_the_byte(tmp_path, mix, width):
    source = small_model(tmp_path / "s.gguf", width=width)
    options = QuantizeOptions(target=mix, imatrix=imatrix_for(mix, tmp_path, weights(width=width)))
    planned = run(PlanJob(source=str(source), options=options))
    result = run(QuantizeJob(source=str(source), output=str(tmp_path / "out.gguf"), options=options))
    assert (tmp_path / "out.gguf").stat().st_size == planned.bytes == result.bytes
    assert planned.bits_per_weight == pytest.approx(result.bpw)
    assert [row.target_type for row in planned.tensors] == [tensor.type for tensor in result.tensors]


def test_sample_keeps_what_has_its_type_already(sample):
    plan = plan_of(sample, "Q8_0")
    kept = row(plan, "token_embd.weight")
    assert (kept.source_type, kept.target_type) == ("Q8_0", "Q8_0")
    assert kept.reason.endswith("kept as it is, copied byte for byte")
    assert row(plan, "blk.0.attn_norm.weight").reason.endswith("copied byte for byte")
    assert row(plan, "blk.0.attn_q.weight").reason == "the mix's usual type"


def test_order_of_the_source_is_kept(small):
    with open_source(small) as source:
        plan = make_plan(source, QuantizeOptions(target="Q8_0"))
        assert [row.name for row in plan.tensors] == [tensor.name for tensor in source.tensors]


@pytest.mark.parametrize("name", ["q4_k_m", "Q4_k_M"])
def test_names_of_mixes_know_no_case(small, name):
    assert plan_of(small, name).target == "Q4_K_M"


def test_unknown_type_suggests_the_nearest(small):
    with pytest.raises(UnknownType, match="no quantization type Q4_K_N") as caught:
        plan_of(small, "Q4_K_N")
    assert "Did you mean Q4_K" in caught.value.line


def test_override_is_taken_marked_and_known_by_its_reason(small):
    plan = plan_of(small, overrides=(Override(tensor="blk.0.attn_q.weight", type="q8_0"),))
    chosen = row(plan, "blk.0.attn_q.weight")
    assert (chosen.target_type, chosen.overridden, chosen.reason) == ("Q8_0", True, "chosen by you")
    assert not row(plan, "blk.1.attn_q.weight").overridden


@pytest.mark.parametrize(
    ("tensor", "type_name", "error"),
    [
        ("blk.0.attn_w.weight", "Q8_0", UnknownTensor),
        ("blk.0.attn_q.weight", "Q9_K", UnknownType),
        ("blk.0.attn_norm.weight", "Q8_0", TensorIsKept),
    ],
)
def test_overrides_that_cannot_be_are_refused(small, tensor, type_name, error):
    with pytest.raises(error):
        plan_of(small, overrides=(Override(tensor=tensor, type=type_name),))


def test_override_that_does_not_fit_the_rows_is_refused(sample):
    with pytest.raises(IllegalType, match="cannot be stored as Q4_K"):
        plan_of(sample, "Q8_0", overrides=(Override(tensor="blk.0.attn_q.weight", type="Q4_K"),))


def test_a_kept_tensor_may_be_named_with_the_type_it_has(small):
    plan = plan_of(small, overrides=(Override(tensor="output_norm.weight", type="F32"),))
    assert row(plan, "output_norm.weight").target_type == "F32"


def test_pure_gives_one_type(small):
    types = {row.target_type for row in plan_of(small, pure=True).tensors if len(row.shape) > 1}
    assert types == {"Q4_K"}


def test_quantized_source_is_planned_with_a_warning_and_refused_for_quantizing(sample):
    assert any("already quantized (Q4_1, Q8_0)" in warning for warning in plan_of(sample).warnings)
    options = QuantizeOptions(target="Q4_K_M")
    with open_source(sample) as source:
        made = make_plan(source, options)
        with pytest.raises(AlreadyQuantized, match="already quantized"):
            refuse_quantized(source, made, options)
        refuse_quantized(source, made, options.model_copy(update={"allow_requantize": True}))


def test_copying_quantized_tensors_as_they_are_is_no_quantizing(tmp_path):
    source = small_model(tmp_path / "s.gguf", "Q8_0")
    options = QuantizeOptions(target="Q8_0")
    with open_source(source) as opened:
        refuse_quantized(opened, make_plan(opened, options), options)


def test_many_fallbacks_are_told_with_the_true_bits(sample, small):
    told = [warning for warning in plan_of(sample).warnings if "do not fit" in warning]
    assert len(told) == 1
    assert "181 of 211" in told[0]
    assert "6.17 bits per weight" in told[0]
    assert not any("do not fit" in warning for warning in plan_of(small).warnings)


def test_an_original_has_no_warnings(small):
    assert plan_of(small).warnings == ()


def test_memory_grows_with_the_largest_chunk_not_with_the_model(tmp_path):
    few = small_model(tmp_path / "few.gguf", layers=1)
    many = small_model(tmp_path / "many.gguf", layers=12)
    assert plan_of(few).memory_bytes == plan_of(many).memory_bytes


def test_output_says_what_it_is_and_keeps_the_rest(tmp_path):
    from core.formats.gguf_layout import KeyValue
    from core.sources import open_source as reopen

    keys = [*metadata(), KeyValue("general.file_type", "UINT32", 0), KeyValue("made.up", "FLOAT64", 0.5)]
    source = write(tmp_path / "s.gguf", weights(), keys=keys)
    job = QuantizeJob(source=str(source), output=str(tmp_path / "o.gguf"), options=QuantizeOptions(target="Q6_K"))
    run(job)
    with reopen(tmp_path / "o.gguf") as output:
        values = {entry.key: entry.value for entry in output.metadata}
        assert [entry.key for entry in output.metadata] == [
            *(entry.key for entry in keys),
            "general.quantization_version",
        ]
    assert (values["general.file_type"], values["general.quantization_version"], values["made.up"]) == (18, 2, 0.5)
    assert list(values["tokenizer.ggml.tokens"]) == ["a", "b", "c"]


def test_the_plan_before_the_importance_matrix_is_that_with_it(tmp_path):
    source = str(small_model(tmp_path / "s.gguf"))
    path = tmp_path / "later.gguf"
    options = QuantizeOptions(target="IQ2_M", imatrix=str(path))
    before = run(PlanJob(source=source, options=options, imatrix_to_come=True))
    write_imatrix(path, importance_of(weights()))
    assert before.tensors == run(PlanJob(source=source, options=options)).tensors
    unweighted = options.model_copy(update={"target": "Q4_K_M", "exclude_weights": ("attn", "ffn")})
    rows = run(PlanJob(source=source, options=unweighted, imatrix_to_come=True)).tensors
    assert not any(row.weighted for row in rows)
