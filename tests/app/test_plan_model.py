"""The plan as a table: what it shows, what may be chosen, and what is said about it."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from app.models.columns import SORT_ROLE, RowsFilter
from app.models.modules import MODULES, order_text, place
from app.models.plan import AUTOMATIC, CHOICES_ROLE, PlanModel, mib, types_for
from app.models.sentences import fallback_sentence, saving, size_sentence
from app.models.sizes import group_sizes
from app.theme import Theme
from core.jobs import Override
from kernels.blocks import FORMATS
from tests.app.values import make_plan

QUERY = "blk.0.attn_q.weight"


@pytest.fixture
def model(qapp):
    made = PlanModel(Theme("light"))
    made.set_plan(make_plan(12))
    return made


def cell(model: PlanModel, name: str, key: str):
    return model.index(model.row_of(name), model.column_of(key))


def test_every_row_shows_its_plan(model):
    by_name = {row.name: row for row in make_plan(12).tensors}
    assert {row.name for row in model.rows} == set(by_name)
    for row in model.rows:
        assert cell(model, row.name, "to").data() == by_name[row.name].target_type
        assert cell(model, row.name, "bytes").data() == mib(by_name[row.name].bytes)
        assert cell(model, row.name, "bpw").data() == f"{by_name[row.name].bpw:.2f}"


def test_rows_come_in_the_models_order_and_layer_10_after_layer_9(model):
    layers = [place(row.name).layer for row in model.rows]
    inside = [layer for layer in layers if layer is not None]
    assert inside == sorted(inside)
    assert model.rows[0].name == "token_embd.weight"
    assert model.rows[-1].name == "output_norm.weight"
    assert sorted(model.rows, key=order_text) == list(model.rows)


def test_numbers_sort_as_numbers_and_are_right_aligned(model):
    index = cell(model, "token_embd.weight", "bytes")
    assert index.data(SORT_ROLE) == make_plan(12).tensors[0].bytes
    assert index.data(Qt.ItemDataRole.TextAlignmentRole) & int(Qt.AlignmentFlag.AlignRight)


@pytest.mark.parametrize("row_length", [32, 192, 256, 576, 1536])
def test_only_types_whose_blocks_fit_may_be_chosen(row_length):
    tensor = make_plan().tensors[0].model_copy(update={"shape": (7, row_length)})
    assert set(types_for(tensor)) == {name for name, row in FORMATS.items() if row_length % row.elements == 0}


def test_vectors_have_no_choice(model):
    index = cell(model, "blk.0.attn_norm.weight", "to")
    assert not model.flags(index) & Qt.ItemFlag.ItemIsEditable
    assert index.data(CHOICES_ROLE) == ()


def test_choosing_a_type_records_an_override_and_asks_for_a_new_plan(model, qtbot):
    with qtbot.waitSignal(model.overrides_changed):
        assert model.setData(cell(model, QUERY, "to"), "Q8_0")
    assert model.overrides == (Override(tensor=QUERY, type="Q8_0"),)
    assert cell(model, QUERY, "to").data(Qt.ItemDataRole.EditRole) == "Q8_0"


def test_a_type_that_does_not_fit_is_refused(model):
    assert not model.setData(cell(model, QUERY, "to"), "Q4_K")
    assert model.overrides == ()


def test_the_choice_can_be_given_back(model, qtbot):
    model.override([QUERY, "blk.1.attn_q.weight"], "Q8_0")
    model.setData(cell(model, QUERY, "to"), AUTOMATIC)
    assert [o.tensor for o in model.overrides] == ["blk.1.attn_q.weight"]
    with qtbot.waitSignal(model.overrides_changed):
        model.reset_overrides()
    assert model.overrides == ()


def test_marks_are_words_and_icons_not_colour_alone(model):
    model.set_plan(make_plan(12, {QUERY: "Q8_0"}))
    assert cell(model, QUERY, "reason").data() == "Chosen by you"
    fallback, plain = "blk.0.attn_k.weight", "blk.0.ffn_down.weight"
    assert cell(model, fallback, "reason").data().startswith("Fallback: ")
    assert not cell(model, plain, "reason").data().startswith("Fallback")
    icons = [cell(model, n, "to").data(Qt.ItemDataRole.DecorationRole).cacheKey() for n in (QUERY, fallback, plain)]
    assert len(set(icons)) == 3


def test_the_filter_wants_every_word_in_some_cell(model):
    rows = RowsFilter(model)
    rows.set_filter("Fallback: ATTN_K")
    assert rows.rowCount() == 12
    assert all("attn_k" in rows.index(i, 0).data() for i in range(rows.rowCount()))
    rows.set_filter("fallback: norm")
    assert rows.rowCount() == 0
    rows.set_filter("")
    assert rows.rowCount() == model.rowCount()


def test_group_sizes_add_up_to_the_files():
    plan = make_plan(12)
    sizes = group_sizes(plan)
    assert sum(s.before for s in sizes) == plan.source_bytes
    assert sum(s.after for s in sizes) == plan.bytes
    assert [s.group for s in sizes] == ["embedding", "attention", "feed-forward", "other"]


def test_the_size_sentence_says_what_and_why(qapp):
    plan = make_plan(12)
    larger = size_sentence(plan)
    assert "becomes" in larger
    assert "larger, because the source already has" in larger
    smaller = plan.model_copy(update={"bytes": plan.source_bytes * 38 // 100})
    assert size_sentence(smaller).endswith(": saves 62 %.")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (100, 38, "saves 62 %"),
        (100, 107, "7 % larger"),
        (1000, 1001, "practically the same size"),
        (0, 5, "practically the same size"),
    ],
)
def test_savings_in_words(qapp, before, after, words):
    assert saving(before, after) == words


def test_the_fallback_sentence_counts_and_gives_the_true_size(qapp):
    plan = make_plan(12)
    fallen = sum(t.fallback for t in plan.tensors)
    sentence = fallback_sentence(plan)
    assert sentence.startswith(f"{fallen} of {len(plan.tensors)} tensors fall back because rows of 576")
    assert "blocks of 256" in sentence
    assert f"{plan.bits_per_weight:.1f} bits per weight instead of 4.9" in sentence
    none = plan.model_copy(update={"tensors": tuple(t.model_copy(update={"fallback": False}) for t in plan.tensors)})
    assert fallback_sentence(none) == ""


@pytest.mark.parametrize(
    ("name", "layer", "module", "group"),
    [
        ("token_embd.weight", None, "token_embd", "embedding"),
        ("blk.17.attn_q.weight", 17, "attn_q", "attention"),
        ("blk.3.attn_output.weight", 3, "attn_output", "attention"),
        ("blk.3.attn_norm.weight", 3, "attn_norm", "other"),
        ("blk.0.ffn_gate_exps.weight", 0, "ffn_gate_exps", "feed-forward"),
        ("blk.0.attn_q.bias", 0, "attn_q.bias", "other"),
        ("output.weight", None, "output", "output"),
        ("rope_freqs.weight", None, "rope_freqs", "other"),
        ("model.layers.17.self_attn.q_proj.weight", 17, "self_attn.q_proj", "attention"),
        ("model.layers.0.mlp.experts.3.down_proj.weight", 0, "mlp.experts.3.down_proj", "feed-forward"),
        ("h.2.attn.c_proj.bias", 2, "attn.c_proj.bias", "other"),
        ("model.layers.0.input_layernorm.weight", 0, "input_layernorm", "other"),
        ("model.embed_tokens.weight", None, "model.embed_tokens", "embedding"),
        ("lm_head.weight", None, "lm_head", "output"),
    ],
)
def test_names_tell_the_place(name, layer, module, group):
    found = place(name)
    assert (found.layer, found.name, found.module.group) == (layer, module, group)


def test_some_pattern_matches_every_name():
    assert MODULES[-1].patterns == ("*",)
