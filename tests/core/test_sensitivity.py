"""Sensitivity of pieces: against evaluations of files in which one piece is quantized, its bounds and its rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core import engine
from core.errors import Cancelled, NothingToMeasure, TextTooShort
from core.evaluation import sensitivity as measuring
from core.evaluation.pieces import cut
from core.jobs import (
    EvaluateJob,
    Override,
    PieceTensor,
    PlanJob,
    QuantizeJob,
    QuantizeOptions,
    SensitivityFigures,
    SensitivityJob,
    SensitivityResult,
)
from core.keeping import added_bytes, keep, recipe, summed
from core.progress import Progress
from core.recipe_file import read_recipe, to_toml
from tests.core import hf_tiny

LICENSE = str(Path(__file__).parents[2] / "LICENSE")
TEXT = {"text": (LICENSE,), "context": 32, "chunks": 4}
Q4 = QuantizeOptions(target="Q4_0")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A tiny random model with an output layer of its own."""
    config = hf_tiny.CONFIG | {"tie_word_embeddings": False}
    weights = {name: 10 * tensor for name, tensor in hf_tiny.tensors(config).items()}
    return hf_tiny.build(tmp_path_factory.mktemp("sensitivity") / "tiny", config=config, weights=weights)


@pytest.fixture(scope="module")
def by_tensor(source) -> SensitivityResult:
    return measured(source, by="tensor")


def measured(source: Path, **options) -> SensitivityResult:
    return engine.run(SensitivityJob(source=str(source), **({"options": Q4} | TEXT | options)))


def figures_of_file(source: Path, folder: Path, tensors: tuple[PieceTensor, ...]) -> SensitivityFigures:
    """Those of a file in which these tensors are as they were measured and all others as they are."""
    made = folder / "one.gguf"
    overrides = tuple(Override(tensor=tensor.name, type=tensor.type) for tensor in tensors)
    options = QuantizeOptions(target="F32", overrides=overrides)
    engine.run(QuantizeJob(source=str(source), output=str(made), options=options))
    (found,) = engine.run(EvaluateJob(source=str(source), models=(str(made),), **TEXT)).models
    by_window = {name: getattr(found, f"{name}_window_error") for name in ("mean_kld", "ln_ratio")}
    figures = {name: getattr(found, name) for name in SensitivityFigures.model_fields}
    return SensitivityFigures(**figures | {f"{name}_error": error for name, error in by_window.items()})


@pytest.mark.parametrize("name", ["blk.0.attn_q.weight", "blk.1.ffn_down.weight", "token_embd.weight", "output.weight"])
def test_a_piece_has_the_figures_of_a_file_with_it_alone_quantized(name, source, by_tensor, tmp_path):
    found = next(piece for piece in by_tensor.pieces if piece.name == name)
    expected = figures_of_file(source, tmp_path, found.tensors)
    for figure in set(SensitivityFigures.model_fields) - {"same_top_p_error"}:  # over windows only in a ranking
        assert getattr(found, figure) == pytest.approx(getattr(expected, figure), rel=1e-3, abs=1e-6), figure


def test_shares_are_those_of_each_window(source, by_tensor):
    assert sum(piece.share for piece in by_tensor.pieces) == pytest.approx(100)
    assert all(piece.share_error > 0 for piece in by_tensor.pieces)
    assert by_tensor.warnings == ()
    alone = measured(source, by="layer", chunks=1)
    assert "several" in alone.warnings[0]
    means = [100 * piece.mean_kld / summed(alone.pieces) for piece in alone.pieces]
    assert [piece.share for piece in alone.pieces] == pytest.approx(means)


@pytest.mark.parametrize(("by", "names"), [("group", 6), ("layer", 4), ("tensor", 16)])
def test_pieces_are_ranked_and_together_they_are_the_quantized_file(by, names, source, by_tensor, tmp_path):
    result = measured(source, by=by)
    assert len(result.pieces) == names
    assert [piece.mean_kld for piece in result.pieces] == sorted((p.mean_kld for p in result.pieces), reverse=True)
    covered = tuple(tensor for piece in result.pieces for tensor in piece.tensors)
    assert sorted(tensor.name for tensor in covered) == sorted(piece.name for piece in by_tensor.pieces)
    assert result.together == by_tensor.together
    assert result.tokens == 4 * 15
    if by == "group":
        assert result.pieces[0].name in {"blk.0.attn", "blk.0.ffn"}
        expected = figures_of_file(source, tmp_path, covered)
        assert result.together.mean_kld == pytest.approx(expected.mean_kld, rel=1e-3)


def test_few_students_at_a_time_give_the_same(source, by_tensor, monkeypatch):
    expected = by_tensor.model_dump(exclude={"seconds", "peak_memory_bytes"})
    monkeypatch.setattr(measuring, "COMPARED_AT_ONCE", 2)
    state = 4 * 32 * 64 * 4
    for students in (1, 3):
        monkeypatch.setattr(measuring.psutil, "virtual_memory", lambda n=students: _Memory(n * state))
        assert measured(source, by="tensor").model_dump(exclude={"seconds", "peak_memory_bytes"}) == expected


class _Memory:
    def __init__(self, share: int) -> None:
        self.available = share / measuring.SHARE


def test_what_cannot_be_measured_is_said_before_any_work(source, tmp_path, monkeypatch):
    def work(*_):
        raise AssertionError("it began to work")

    monkeypatch.setattr(measuring._Run, "measure", work)
    with pytest.raises(NothingToMeasure, match="COPY"):
        measured(source, options=QuantizeOptions(target="COPY"))
    short = tmp_path / "short.txt"
    short.write_text("Too short.", encoding="utf-8")
    with pytest.raises(TextTooShort):
        measured(source, text=(str(short),))


def test_it_can_be_stopped_at_any_moment(source, own_folders):
    job = SensitivityJob(source=str(source), options=Q4, by="layer", **TEXT)
    seen = []
    measuring.sensitivity(job, Progress(seen.append, lambda: bool(seen.append(None))))
    calls = seen.count(None)
    assert calls > 8
    for stop in range(0, calls, 9):
        left = iter(range(stop))
        with pytest.raises(Cancelled):
            measuring.sensitivity(job, Progress(cancelled=lambda left=left: next(left, None) is None))
    assert list((own_folders / "data").iterdir()) == []


# ---------------------------------------------------------------- pieces and what to keep


def test_norms_and_what_is_not_quantized_are_no_pieces(source):
    rows = engine.run(PlanJob(source=str(source), options=Q4)).tensors
    groups = cut(rows, "group")
    assert [piece.name for piece in groups] == [
        "output.weight", "token_embd.weight", "blk.0.attn", "blk.0.ffn", "blk.1.attn", "blk.1.ffn",
    ]  # fmt: skip
    assert {len(piece.rows) for piece in groups} == {1, 4, 3}


def test_what_is_kept_avoids_most_per_byte_within_the_budget(by_tensor):
    for percent in (0.5, 5, 30, 1000):
        found = keep(by_tensor, "Q8_0", percent)
        assert (
            found.bytes == sum(added_bytes(piece, "Q8_0") for piece in found.pieces) <= by_tensor.bytes * percent / 100
        )
    assert found.share > 0.99
    assert {piece.name for piece in found.pieces} == {
        piece.name for piece in by_tensor.pieces if added_bytes(piece, "Q8_0") > 0
    }
    few = keep(by_tensor, "Q8_0", 3)
    best = max(found.pieces, key=lambda piece: piece.mean_kld / added_bytes(piece, "Q8_0"))
    assert few.pieces[0] == best
    assert 0 < few.share < 1
    assert summed(few.pieces) == pytest.approx(few.share * summed(by_tensor.pieces))


def test_its_rules_give_the_plan_that_was_counted(source, by_tensor, tmp_path):
    found = keep(by_tensor, "Q8_0", 20)
    path = tmp_path / "kept.toml"
    path.write_text(to_toml(recipe("kept", found, Q4)), encoding="utf-8")
    options = read_recipe(path).options
    before = engine.run(PlanJob(source=str(source), options=Q4))
    after = engine.run(PlanJob(source=str(source), options=options))
    kept = {tensor.name for piece in found.pieces for tensor in piece.tensors}
    assert {row.name for row in after.tensors if row.target_type == "Q8_0"} >= kept
    changed = {a.name for a, b in zip(after.tensors, before.tensors, strict=True) if a.target_type != b.target_type}
    assert changed == kept
    assert sum(row.bytes for row in after.tensors) - sum(row.bytes for row in before.tensors) == found.bytes
    assert all(re.compile(rule.tensor) for rule in found.overrides)
